-- One row per race, known when it starts: its date with its time of day, midnight where none is
-- written. How it went is known at the same moment as its results.
with fields as (
    select
        results.raceId,
        count(*) as entrants,
        max(results.laps) as winner_laps,
        avg(cast(results.statusId <> 1 as double)) as did_not_finish
    from validated.results as results
    group by results.raceId
)

select
    races.raceId,
    races.circuitId,
    races.name as grand_prix,
    races.round,
    month(races.date) as month,
    fields.entrants,
    fields.winner_laps,
    fields.did_not_finish,
    races.date + coalesce(cast(races."time" as time), time '00:00:00') as known_at
from validated.races as races
left join fields on races.raceId = fields.raceId
order by races.raceId
