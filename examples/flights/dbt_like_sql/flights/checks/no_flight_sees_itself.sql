-- A flight is asked about at its scheduled departure; what it did itself is known later.
select departures.time_hour, departures.carrier, departures.flight
from aligned.departures as departures
inner join aligned.flights as flights
    on
        departures.time_hour = flights.time_hour
        and departures.carrier = flights.carrier
        and departures.flight = flights.flight
where departures.known_at <= flights.scheduled_at or departures.known_at is null
union all
select arrivals.time_hour, arrivals.carrier, arrivals.flight
from aligned.arrivals as arrivals
inner join aligned.flights as flights
    on
        arrivals.time_hour = flights.time_hour
        and arrivals.carrier = flights.carrier
        and arrivals.flight = flights.flight
where arrivals.known_at <= flights.scheduled_at or arrivals.known_at is null
