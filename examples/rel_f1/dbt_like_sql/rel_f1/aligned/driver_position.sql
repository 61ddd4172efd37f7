-- The benchmark's label: mean finishing order of a driver over the 60 days after each cutoff. Its
-- filter has no upper bound, so it keeps everybody who races in the window, also who never did.
select
    results.driverId,
    cutoffs.cutoff,
    avg(results.finish_order) as label
from aligned.cutoffs_position as cutoffs
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
