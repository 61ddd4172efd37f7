-- The parent of a flight is older than the flight.
select flights.time_hour, flights.carrier, flights.flight
from aligned.flights as flights
inner join aligned.weather as weather
    on flights.origin = weather.origin and flights.time_hour = weather.time_hour
where weather.known_at > flights.scheduled_at
