-- One row per player, season, stint and position.
select
    fielding.playerID,
    fielding.yearID,
    fielding.stint,
    fielding.POS,
    fielding.POS as field_position,
    fielding.G as games,
    fielding.GS as games_started,
    fielding.InnOuts / 3 as innings,
    fielding.PO as putouts,
    fielding.A as assists,
    fielding.E as errors,
    fielding.DP as double_plays,
    (fielding.PO + fielding.A)
    / nullif(fielding.PO + fielding.A + fielding.E, 0) as fielding_share,
    (fielding.PO + fielding.A) / nullif(fielding.G, 0) as outs_per_game,
    make_timestamp(fielding.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.Fielding as fielding
order by fielding.playerID, fielding.yearID, fielding.stint, fielding.POS
