-- Everybody is asked about after a season he played in, from 1960 on, so his first game tells nothing
-- of the future. (One first game of 1882 is dated a year too late.)
select played.playerID, played.yearID, people.debut_at
from aligned.Appearances as played
inner join aligned.People as people on played.playerID = people.playerID
where year(people.debut_at) > played.yearID and played.yearID >= 1960
