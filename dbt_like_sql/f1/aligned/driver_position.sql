-- Mean finishing order of a driver over the 60 days after each cutoff, for drivers who raced in the
-- year before it.
with active as (
    select distinct cutoffs.cutoff, past.driverId
    from aligned.cutoffs_position as cutoffs
    inner join aligned.race_results as past
        on past.known_at <= cutoffs.cutoff
        and past.known_at > cutoffs.cutoff - interval 1 year
)

select
    active.driverId as id,
    active.cutoff,
    avg(results.finish_order) as label
from active
inner join aligned.cutoffs_position as cutoffs on active.cutoff = cutoffs.cutoff
inner join aligned.race_results as results
    on active.driverId = results.driverId
    and results.known_at > cutoffs.cutoff
    and results.known_at <= cutoffs.window_end
where results.started
group by active.driverId, active.cutoff
order by active.cutoff, active.driverId
