-- One row per driver and qualifying; lap times become seconds and a share of the fastest.
with laps as (
    select
        qualifying.*,
        coalesce(qualifying.q3, qualifying.q2, qualifying.q1, qualifying.time) as lap
    from validated.qualifying_results as qualifying
),

timed as (
    select
        laps.*,
        60 * cast(nullif(regexp_extract(laps.lap, '^(?:(\d+):)?(\d+\.\d+)$', 1), '') as double) as minutes_s,
        cast(nullif(regexp_extract(laps.lap, '^(?:(\d+):)?(\d+\.\d+)$', 2), '') as double) as rest_s
    from laps
)

select
    timed.raceId,
    timed.driverId,
    timed.constructorId,
    timed."order" as qualifying_order,
    try_cast(timed.position as integer) as position,
    (coalesce(timed.minutes_s, 0) + timed.rest_s)
    / nullif(min(coalesce(timed.minutes_s, 0) + timed.rest_s) over (partition by timed.raceId), 0)
    - 1 as gap_to_fastest,
    timed.engineManufacturerId as engine,
    timed.tyreManufacturerId as tyre,
    races.known_at - interval 1 day as known_at
from timed
inner join aligned.races as races on timed.raceId = races.id
order by timed.raceId, timed."order"
