-- The benchmark's label: is there a race in the 30 days after each cutoff that a driver is not
-- written as finishing? A lap down counts as not finishing. The filter is that of driver_position.
select
    results.driverId,
    cutoffs.cutoff,
    cast(max(results.did_not_finish) as integer) as label
from aligned.cutoffs_dnf as cutoffs
left join aligned.results as results
    on results.known_at <= cutoffs.window_end
    and results.known_at > cutoffs.cutoff
where results.driverId in (
    select distinct recent.driverId
    from aligned.results as recent
    where recent.known_at > cutoffs.cutoff - interval 1 year
)
group by results.driverId, cutoffs.cutoff
order by cutoffs.cutoff, results.driverId
