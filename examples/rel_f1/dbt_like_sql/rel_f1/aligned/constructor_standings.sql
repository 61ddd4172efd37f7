-- Championship standing of a constructor after a race.
select
    standings.constructorStandingsId,
    standings.raceId,
    standings.constructorId,
    standings.position,
    standings.points
    / nullif(max(standings.points) over (partition by standings.raceId), 0) as share_of_leader,
    standings.wins,
    races.round,
    races.known_at
from validated.constructor_standings as standings
inner join aligned.races as races on standings.raceId = races.raceId
order by standings.constructorStandingsId
