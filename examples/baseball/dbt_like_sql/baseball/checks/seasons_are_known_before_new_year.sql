-- The pay for a season and its all-star games become known within its year: after the cutoff on
-- 1 January, and before the next.
select 'salary' as what, paid.playerID, paid.yearID
from aligned.Salaries as paid
where year(paid.known_at) <> paid.yearID or dayofyear(paid.known_at) = 1
union all
select 'all-star' as what, named.playerID, named.yearID
from aligned.AllstarFull as named
where year(named.known_at) <> named.yearID or dayofyear(named.known_at) = 1
union all
select 'batting' as what, batting.playerID, batting.yearID
from aligned.Batting as batting
where year(batting.known_at) <> batting.yearID
