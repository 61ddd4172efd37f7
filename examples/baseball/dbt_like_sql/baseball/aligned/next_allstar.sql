-- Is a player named for an all-star game of the next season? Asked on 1 January about everybody who
-- played in the season before, from 1960 on. A year without a game (2020) is not asked about.
with games as (
    select distinct allstars.yearID
    from aligned.AllstarFull as allstars
),

players as (
    select distinct played.playerID, played.yearID + 1 as next_season
    from aligned.Appearances as played
    where played.yearID >= 1960
)

select
    players.playerID,
    make_timestamp(players.next_season, 1, 1, 0, 0, 0.0) as cutoff,
    cast(count(named.playerID) > 0 as integer) as label
from players
inner join games on players.next_season = games.yearID
left join aligned.AllstarFull as named
    on players.playerID = named.playerID and players.next_season = named.yearID
group by players.playerID, players.next_season
order by cutoff, players.playerID
