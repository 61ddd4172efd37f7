-- Qualifying is known before the race it is for.
select qualifying.raceId, qualifying.driverId
from aligned.qualifying_results as qualifying
inner join aligned.races as races on qualifying.raceId = races.id
where qualifying.known_at >= races.known_at
