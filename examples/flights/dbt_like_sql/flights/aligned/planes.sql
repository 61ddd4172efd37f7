-- One row per plane that flies. One flight in seven names a plane that is not in the register: nothing
-- is known of such a plane but its flights.
with flying as (
    select distinct nullif(flights.tailnum, 'NA') as tailnum
    from validated.flights as flights
)

select
    flying.tailnum,
    try_cast(planes.year as integer) as built,
    planes.manufacturer,
    planes.model,
    planes.engine,
    planes.engines,
    planes.seats
from flying
left join validated.planes as planes on flying.tailnum = planes.tailnum
where flying.tailnum is not null
order by flying.tailnum
