-- What a constructor's cars did in a race, and over its last ten races up to this one. Shares are
-- averaged as decimals, whose sum has no rounding that later rows could change.
with cars as (
    select
        entries.raceId,
        entries.constructorId,
        entries.known_at,
        count(*) as cars,
        sum(entries.finish_share) as summed_finish_share,
        avg(entries.finish_share) as finish_share,
        min(entries.finish_share) as best_finish_share,
        avg(entries.grid_share) as grid_share,
        avg(entries.lap_share) as lap_share,
        avg(entries.did_not_finish) as did_not_finish,
        avg(entries.retired) as retired
    from aligned.entries as entries
    group by entries.raceId, entries.constructorId, entries.known_at
)

select
    cars.*,
    avg(cast(cars.finish_share as decimal(12, 9))) over last_10 as finish_share_10,
    avg(cast(cars.grid_share as decimal(12, 9))) over last_10 as grid_share_10,
    avg(cast(cars.did_not_finish as decimal(12, 9))) over last_10 as did_not_finish_10,
    avg(cast(cars.retired as decimal(12, 9))) over last_10 as retired_10
from cars
window
    last_10 as (
        partition by cars.constructorId order by cars.known_at, cars.raceId
        rows between 9 preceding and current row
    )
order by cars.raceId, cars.constructorId
