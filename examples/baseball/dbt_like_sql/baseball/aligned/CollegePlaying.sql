-- One row per player, school and year, of years before the first game in the major leagues: so it is
-- past for everybody who is asked about, and needs no time.
select
    college.playerID,
    college.schoolID,
    college.yearID,
    year(people.debut) - college.yearID as years_before_debut
from validated.CollegePlaying as college
inner join validated.People as people
    on college.playerID = people.playerID and college.yearID <= year(people.debut)
order by college.playerID, college.schoolID, college.yearID
