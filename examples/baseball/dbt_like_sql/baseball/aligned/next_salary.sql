-- The pay of a player for the next season, as log10 of dollars: 6 is a million, and an error of 0.1
-- is about a quarter of the pay. Asked on 1 January about everybody who played in the season before
-- and is paid in the next; the best paid of several contracts counts.
with players as (
    select distinct played.playerID, played.yearID + 1 as next_season
    from aligned.Appearances as played
)

select
    players.playerID,
    make_timestamp(players.next_season, 1, 1, 0, 0, 0.0) as cutoff,
    max(paid.salary_log10) as label
from players
inner join aligned.Salaries as paid
    on players.playerID = paid.playerID and players.next_season = paid.yearID
where paid.salary_log10 is not null
group by players.playerID, players.next_season
order by cutoff, players.playerID
