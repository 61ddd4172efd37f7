-- A team finishes a season once.
select teams.yearID, teams.teamID, count(*) as seasons
from aligned.Teams as teams
group by teams.yearID, teams.teamID
having count(*) > 1
