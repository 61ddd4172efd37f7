-- One row per driver and qualifying, known the day before the race. Lap times are left out, as the
-- benchmark leaves them out. Running means end with the row's own qualifying; shares are averaged as
-- decimals, whose sum has no rounding that later rows could change.
with placed as (
    select
        qualifying.*,
        races.known_at - interval 1 day as known_at,
        qualifying.position / count(*) over (partition by qualifying.raceId) as position_share,
        cast(qualifying.position <= 3 as double) as top3,
        min(qualifying.position) over (
            partition by qualifying.raceId, qualifying.constructorId
        ) as team_best
    from validated.qualifying as qualifying
    inner join aligned.races as races on qualifying.raceId = races.raceId
)

select
    placed.qualifyId,
    placed.raceId,
    placed.driverId,
    placed.constructorId,
    placed.position,
    placed.position_share,
    placed.top3,
    placed.position - placed.team_best as behind_team_best,
    avg(cast(placed.position_share as decimal(12, 9))) over last_5 as position_share_5,
    avg(placed.top3) over last_15 as top3_15,
    placed.known_at
from placed
window
    last_5 as (
        partition by placed.driverId order by placed.known_at, placed.qualifyId
        rows between 4 preceding and current row
    ),
    last_15 as (
        partition by placed.driverId order by placed.known_at, placed.qualifyId
        rows between 14 preceding and current row
    )
order by placed.qualifyId
