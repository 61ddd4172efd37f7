-- Qualifying is known the day before the race it is for.
select qualifying.qualifyId
from aligned.qualifying as qualifying
inner join aligned.races as races on qualifying.raceId = races.raceId
where qualifying.known_at <> races.known_at - interval 1 day
