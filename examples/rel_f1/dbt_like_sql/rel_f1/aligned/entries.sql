-- Every result, made comparable between years: shares of the field and of the winner instead of
-- points and milliseconds. Points as such are left out everywhere: a win was worth ten until 2009
-- and 25 since, so what was learned from them before would not hold after.
-- Yes and no are numbers, so that they can be averaged.
with fields as (
    select
        results.*,
        races.known_at,
        races.entrants,
        nullif(results.grid, 0) as started_from,
        (results.positionOrder - 1) / nullif(races.entrants - 1, 0) as finish_share,
        results.laps / nullif(races.winner_laps, 0) as lap_share,
        results.points / nullif(max(results.points) over race, 0) as points_share,
        results.milliseconds / nullif(min(results.milliseconds) over race, 0) - 1 as time_gap
    from validated.results as results
    inner join aligned.races as races on results.raceId = races.raceId
    window race as (partition by results.raceId)
)

select
    fields.resultId,
    fields.raceId,
    fields.driverId,
    fields.constructorId,
    fields.positionOrder as finish_order,
    fields.finish_share,
    fields.started_from as grid,
    -- Grid 0 is a start from the pit lane, or none at all: the end of the field.
    least(coalesce(fields.started_from / fields.entrants, 1), 1) as grid_share,
    fields.started_from - fields.positionOrder as places_gained,
    fields.points_share,
    fields.lap_share,
    fields.time_gap,
    cast(fields.statusId <> 1 as double) as did_not_finish,
    -- Out of the race for good, where did_not_finish also counts who was a lap down.
    cast(fields.statusId <> 1 and coalesce(fields.lap_share, 0) < 0.9 as double) as retired,
    case
        when fields.statusId = 1 then 'finished'
        -- +1 lap and more
        when fields.statusId in (
            11, 12, 13, 14, 15, 16, 17, 18, 19, 45, 50, 53, 55, 58, 88, 111, 112, 113, 114,
            115, 116, 117, 118, 119, 120, 122, 123, 124, 125, 127, 128, 133, 134
        ) then 'lapped'
        -- accident, collision, spun off, fatal accident, collision damage
        when fields.statusId in (3, 4, 20, 104, 130) then 'accident'
        -- did not qualify or prequalify, withdrew, injured, 107 % rule, safety, not restarted
        when fields.statusId in (54, 73, 77, 78, 81, 89, 90, 97) then 'not_started'
        -- disqualified, not classified, underweight, excluded
        when fields.statusId in (2, 62, 92, 96) then 'not_counted'
        else 'broken'
    end as outcome,
    fields.known_at
from fields
order by fields.resultId
