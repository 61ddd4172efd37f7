-- Did a driver retire from a race in the 30 days after each cutoff? For drivers who raced in the year
-- before it and start at least once in the window.
with active as (
    select distinct cutoffs.cutoff, past.driverId
    from aligned.cutoffs_dnf as cutoffs
    inner join aligned.race_results as past
        on past.known_at <= cutoffs.cutoff
        and past.known_at > cutoffs.cutoff - interval 1 year
)

select
    active.driverId as id,
    active.cutoff,
    cast(bool_or(results.retired) as integer) as label
from active
inner join aligned.cutoffs_dnf as cutoffs on active.cutoff = cutoffs.cutoff
inner join aligned.race_results as results
    on active.driverId = results.driverId
    and results.known_at > cutoffs.cutoff
    and results.known_at <= cutoffs.window_end
where results.started
group by active.driverId, active.cutoff
order by active.cutoff, active.driverId
