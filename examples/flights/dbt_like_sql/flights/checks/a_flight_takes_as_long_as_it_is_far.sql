-- Scheduled minutes are a difference of clocks in two time zones: a wrong zone shows as an hour too
-- few or many, beside 510 miles an hour and up to two and a half hours on the ground.
select flights.time_hour, flights.carrier, flights.flight, flights.scheduled_minutes
from aligned.flights as flights
where flights.scheduled_minutes - flights.distance_miles / 8.5 not between 0 and 165
