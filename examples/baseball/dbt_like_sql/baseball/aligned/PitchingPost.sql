-- One row per player and round after the season; all of them are over by the end of the year.
select
    pitching.playerID,
    pitching.yearID,
    pitching.round,
    case
        when pitching.round = 'WS' then 'world series'
        when pitching.round like '%CS' then 'league'
        when pitching.round like '%WC%' then 'wild card'
        else 'division'
    end as level,
    pitching.G as games,
    pitching.W as wins,
    pitching.SV as saves,
    pitching.IPouts / 3 as innings,
    27 * pitching.ER / nullif(pitching.IPouts, 0) as earned_run_average,
    pitching.SO / nullif(pitching.IPouts / 3, 0) as strikeouts_per_inning,
    make_timestamp(pitching.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.PitchingPost as pitching
order by pitching.playerID, pitching.yearID, pitching.round
