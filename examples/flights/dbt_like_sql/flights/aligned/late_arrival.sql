-- Does a flight arrive more than 15 minutes late? One question per flight that arrived, asked at its
-- own scheduled departure; the answer is known on arrival.
select
    arrivals.time_hour,
    arrivals.carrier,
    arrivals.flight,
    arrivals.scheduled_at as cutoff,
    arrivals.known_at as window_end,
    cast(arrivals.arrival_delay > 15 as integer) as label
from aligned.arrivals as arrivals
where arrivals.arrival_delay is not null
order by arrivals.scheduled_at, arrivals.time_hour, arrivals.carrier, arrivals.flight
