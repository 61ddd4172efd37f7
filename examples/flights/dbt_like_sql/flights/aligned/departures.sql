-- One row per flight that left: known at that moment, but not before a minute after it should have
-- left. Half of the flights leave early, and would see their own departure when they are asked about.
select
    flights.time_hour,
    flights.carrier,
    flights.flight,
    flights.tailnum,
    flights.origin,
    flights.dest,
    flights.airline,
    flights.leaves_from,
    flights.flies_to,
    flights.hour_of_day,
    flights.distance_miles,
    cast(departures.dep_delay as integer) as departure_delay,
    flights.scheduled_at,
    flights.scheduled_at
    + to_minutes(greatest(cast(departures.dep_delay as integer), 1)) as known_at
from validated.departures as departures
inner join aligned.flights as flights
    on
        departures.time_hour = flights.time_hour
        and departures.carrier = flights.carrier
        and departures.flight = flights.flight
where departures.dep_delay <> 'NA'
order by flights.time_hour, flights.carrier, flights.flight
