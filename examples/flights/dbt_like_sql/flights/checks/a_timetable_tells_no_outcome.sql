-- Every flight is in the timetable once, and arrives at most once.
select flights.time_hour, flights.carrier, flights.flight, count(*) as times
from aligned.flights as flights
left join aligned.arrivals as arrivals
    on
        flights.time_hour = arrivals.time_hour
        and flights.carrier = arrivals.carrier
        and flights.flight = arrivals.flight
group by flights.time_hour, flights.carrier, flights.flight
having count(*) > 1
