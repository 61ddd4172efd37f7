-- The benchmark's label: does a driver qualify among the first three in the 30 days after each
-- cutoff? The filter is that of driver_position, on qualifying.
select
    qualifying.driverId,
    cutoffs.cutoff,
    cast(min(qualifying.position) <= 3 as integer) as label
from aligned.cutoffs_top3 as cutoffs
left join aligned.qualifying as qualifying
    on qualifying.known_at <= cutoffs.window_end
    and qualifying.known_at > cutoffs.cutoff
where qualifying.driverId in (
    select distinct recent.driverId
    from aligned.qualifying as recent
    where recent.known_at > cutoffs.cutoff - interval 1 year
)
group by qualifying.driverId, cutoffs.cutoff
order by cutoffs.cutoff, qualifying.driverId
