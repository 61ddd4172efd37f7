-- A result without a time could never be seen, or always.
select results.raceId, results."order"
from aligned.race_results as results
where results.known_at is null
