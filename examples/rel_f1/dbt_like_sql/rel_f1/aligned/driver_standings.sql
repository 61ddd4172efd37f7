-- Championship standing of a driver after a race.
select
    standings.driverStandingsId,
    standings.raceId,
    standings.driverId,
    standings.position,
    standings.points
    / nullif(max(standings.points) over (partition by standings.raceId), 0) as share_of_leader,
    standings.wins,
    races.round,
    races.known_at
from validated.driver_standings as standings
inner join aligned.races as races on standings.raceId = races.raceId
order by standings.driverStandingsId
