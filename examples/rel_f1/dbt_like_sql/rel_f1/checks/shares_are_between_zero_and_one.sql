-- What is a share of a race's best or of its field lies within it.
select entries.resultId
from aligned.entries as entries
where not coalesce(entries.finish_share between 0 and 1, true)
    or not coalesce(entries.grid_share between 0 and 1, true)
    or not coalesce(entries.lap_share between 0 and 1, true)
    or not coalesce(entries.points_share between 0 and 1, true)
