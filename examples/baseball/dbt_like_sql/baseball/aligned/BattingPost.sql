-- One row per player and round after the season; all of them are over by the end of the year.
select
    batting.playerID,
    batting.yearID,
    batting.round,
    case
        when batting.round = 'WS' then 'world series'
        when batting.round like '%CS' then 'league'
        when batting.round like '%WC%' then 'wild card'
        else 'division'
    end as level,
    batting.G as games,
    batting.AB as at_bats,
    batting.HR as home_runs,
    batting.H / nullif(batting.AB, 0) as batting_average,
    (batting.H + batting."2B" + 2 * batting."3B" + 3 * batting.HR)
    / nullif(batting.AB, 0) as slugging,
    make_timestamp(batting.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.BattingPost as batting
order by batting.playerID, batting.yearID, batting.round
