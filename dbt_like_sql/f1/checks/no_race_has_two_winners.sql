-- Shared cars made two winners in the fifties: at most one entry may rank first.
select results.raceId, count(*) as winners
from aligned.race_results as results
where results.finish_order = 1
group by results.raceId
having count(*) > 1
