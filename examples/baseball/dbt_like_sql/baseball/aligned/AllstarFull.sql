-- One row per player named for an all-star game. The game is in July, in some years in August.
select
    allstars.playerID,
    allstars.yearID,
    allstars.gameNum,
    allstars.lgID as league,
    coalesce(allstars.GP, 0) > 0 as played,
    allstars.startingPos is not null as started,
    make_timestamp(allstars.yearID, 8, 31, 0, 0, 0.0) as known_at
from validated.AllstarFull as allstars
order by allstars.playerID, allstars.yearID, allstars.gameNum
