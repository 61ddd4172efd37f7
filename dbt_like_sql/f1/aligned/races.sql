-- One row per race. A race becomes known at midnight after it was run.
select
    races.id,
    races.circuitId,
    races.grandPrixId as grand_prix,
    races.round,
    races.circuitType as circuit_type,
    races.direction,
    races.courseLength as course_km,
    races.turns,
    races.laps,
    races.sprintRaceLaps is not null as has_sprint,
    cast(races.date as timestamp) + interval 1 day as known_at
from validated.races as races
order by races.id
