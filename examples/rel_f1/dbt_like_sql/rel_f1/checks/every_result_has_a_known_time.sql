-- A result without a time could never be seen, or always.
select results.resultId
from aligned.results as results
where results.known_at is null
