-- One row per entry of a race; `order` ranks everybody, also those who did not finish.
with entries as (
    select
        results.*,
        try_cast(results.position as integer) as finished,
        try_cast(results.gridPosition as integer) as grid,
        count(*) over (partition by results.raceId) as entrants,
        max(results.laps) over (partition by results.raceId) as winner_laps
    from validated.race_results as results
)

select
    entries.raceId,
    entries."order",
    entries.driverId,
    entries.constructorId,
    entries."order" as finish_order,
    entries."order" / entries.entrants as finish_share,
    entries.finished as finish_position,
    coalesce(entries.grid, if(entries.gridPosition = 'PL', entries.entrants, null)) as grid,
    entries.grid - entries."order" as places_gained,
    entries.laps / nullif(entries.winner_laps, 0) as lap_share,
    coalesce(entries.points, 0) as points,
    if(entries.finished is null, entries.position, 'finished') as outcome,
    coalesce(entries.position not in ('DNQ', 'DNPQ', 'DNS', 'DNP', 'EX'), true) as started,
    coalesce(entries.position = 'DNF', false) as retired,
    coalesce(entries.reasonRetired, 'none') as retired_reason,
    entries.engineManufacturerId as engine,
    entries.tyreManufacturerId as tyre,
    races.known_at
from entries
inner join aligned.races as races on entries.raceId = races.id
order by entries.raceId, entries."order"
