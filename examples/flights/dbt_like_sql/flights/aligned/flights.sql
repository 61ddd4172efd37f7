-- One row per flight as the timetable has it. All times are New York's standard time (UTC - 5) the
-- whole year, so that no hour comes twice and midnight ends a month. Times of arrival are local to the
-- destination; airports that are not in the list are in Puerto Rico and the Virgin Islands.
with timed as (
    select
        flights.*,
        try_cast(replace(flights.time_hour, 'Z', '') as timestamp)
        + to_minutes(flights.minute) as leaves_utc,
        coalesce(nullif(airports.tzone, 'NA'), 'America/Puerto_Rico') as zone
    from validated.flights as flights
    left join validated.airports as airports on flights.dest = airports.faa
),

local as (
    select
        timed.*,
        timezone(timed.zone, timezone('UTC', timed.leaves_utc)) as leaves_there
    from timed
)

select
    local.time_hour,
    local.carrier,
    local.flight,
    nullif(local.tailnum, 'NA') as tailnum,
    local.origin,
    local.dest,
    local.carrier as airline,
    local.origin as leaves_from,
    local.dest as flies_to,
    local.carrier || ' ' || local.flight as service,
    local.hour + local.minute / 60 as hour_of_day,
    dayname(local.leaves_utc - interval 5 hour) as weekday,
    local.distance as distance_miles,
    (
        (local.sched_arr_time // 100 - hour(local.leaves_there)) * 60
        + local.sched_arr_time % 100 - minute(local.leaves_there) + 2880
    ) % 1440 as scheduled_minutes,
    count(*) over (partition by local.origin, local.time_hour) as departures_this_hour,
    local.leaves_utc - interval 5 hour as scheduled_at
from local
order by local.time_hour, local.carrier, local.flight
