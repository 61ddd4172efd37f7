-- A standing is that after a race which has results, so no row tells of a race that is to come.
select standings.driverStandingsId
from aligned.driver_standings as standings
where standings.raceId not in (select results.raceId from aligned.results as results)
