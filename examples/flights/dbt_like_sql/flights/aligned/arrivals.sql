-- One row per flight once it is over: known on arrival. A flight that never left is known to be
-- cancelled when it should have arrived; one that landed elsewhere a day later.
with outcomes as (
    select
        arrivals.time_hour,
        arrivals.carrier,
        arrivals.flight,
        try_cast(arrivals.dep_delay as integer) as dep_delay,
        try_cast(arrivals.arr_delay as integer) as arr_delay,
        try_cast(arrivals.air_time as integer) as air_minutes
    from validated.arrivals as arrivals
)

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
    flights.scheduled_minutes,
    outcomes.dep_delay as departure_delay,
    outcomes.arr_delay as arrival_delay,
    outcomes.arr_delay - outcomes.dep_delay as delay_gained,
    outcomes.air_minutes,
    flights.scheduled_minutes + outcomes.arr_delay - outcomes.dep_delay
    - outcomes.air_minutes as taxi_minutes,
    case
        when outcomes.dep_delay is null then 'cancelled'
        when outcomes.arr_delay is null then 'diverted'
        when outcomes.arr_delay > 15 then 'late'
        else 'on time'
    end as outcome,
    flights.scheduled_at,
    flights.scheduled_at + to_minutes(flights.scheduled_minutes) + case
        when outcomes.arr_delay is not null then to_minutes(outcomes.arr_delay)
        when outcomes.dep_delay is not null then interval 1 day
        else interval 0 day
    end as known_at
from outcomes
inner join aligned.flights as flights
    on
        outcomes.time_hour = flights.time_hour
        and outcomes.carrier = flights.carrier
        and outcomes.flight = flights.flight
order by flights.time_hour, flights.carrier, flights.flight
