-- One row per entry of a race; finish_order ranks everybody, also those who did not finish. Running
-- means of the driver and of the constructor end with the row's own race; shares are averaged as
-- decimals, whose sum has no rounding that later rows could change.
select
    entries.resultId,
    entries.raceId,
    entries.driverId,
    entries.constructorId,
    entries.finish_order,
    entries.finish_share,
    entries.grid,
    entries.grid_share,
    entries.places_gained,
    -- How far behind the mean of the constructor's other cars; minus is ahead of them.
    entries.finish_share
    - (form.summed_finish_share - entries.finish_share) / nullif(form.cars - 1, 0) as behind_team,
    entries.points_share,
    entries.lap_share,
    entries.time_gap,
    entries.did_not_finish,
    entries.retired,
    entries.outcome,
    count(*) over career as career_entries,
    avg(cast(entries.finish_share as decimal(12, 9))) over last_10 as finish_share_10,
    avg(entries.did_not_finish) over last_10 as did_not_finish_10,
    avg(entries.retired) over last_10 as retired_10,
    avg(cast(entries.finish_share as decimal(12, 9))) over last_40 as finish_share_40,
    form.finish_share_10 as team_finish_share_10,
    form.did_not_finish_10 as team_did_not_finish_10,
    entries.known_at
from aligned.entries as entries
inner join aligned.constructor_form as form
    on entries.raceId = form.raceId and entries.constructorId = form.constructorId
window
    career as (partition by entries.driverId order by entries.known_at, entries.resultId),
    last_10 as (
        partition by entries.driverId order by entries.known_at, entries.resultId
        rows between 9 preceding and current row
    ),
    last_40 as (
        partition by entries.driverId order by entries.known_at, entries.resultId
        rows between 39 preceding and current row
    )
order by entries.resultId
