-- Did a driver qualify among the first three in the 30 days after each cutoff? For drivers who raced
-- in the year before it and qualify at least once in the window.
with active as (
    select distinct cutoffs.cutoff, past.driverId
    from aligned.cutoffs_top3 as cutoffs
    inner join aligned.race_results as past
        on past.known_at <= cutoffs.cutoff
        and past.known_at > cutoffs.cutoff - interval 1 year
)

select
    active.driverId as id,
    active.cutoff,
    cast(coalesce(min(qualifying.position), 99) <= 3 as integer) as label
from active
inner join aligned.cutoffs_top3 as cutoffs on active.cutoff = cutoffs.cutoff
inner join aligned.qualifying_results as qualifying
    on active.driverId = qualifying.driverId
    and qualifying.known_at > cutoffs.cutoff
    and qualifying.known_at <= cutoffs.window_end
group by active.driverId, active.cutoff
order by active.cutoff, active.driverId
