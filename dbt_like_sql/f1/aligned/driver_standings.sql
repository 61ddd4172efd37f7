-- Championship standing of a driver after a race.
select
    standings.raceId,
    standings.driverId,
    try_cast(standings.position as integer) as position,
    standings.points,
    standings.points
    / nullif(max(standings.points) over (partition by standings.raceId), 0) as share_of_leader,
    races.known_at
from validated.driver_standings as standings
inner join aligned.races as races on standings.raceId = races.id
order by standings.raceId, standings."order"
