-- One row per airline.
select
    airlines.carrier,
    airlines.name
from validated.airlines as airlines
order by airlines.carrier
