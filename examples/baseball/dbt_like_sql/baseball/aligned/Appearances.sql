-- One row per player, season and team: how often he played, and where; known when the year is over.
select
    played.playerID,
    played.yearID,
    played.teamID,
    played.lgID as league,
    played.G_all as games,
    played.GS as games_started,
    played.G_all / nullif(teams.G, 0) as share_of_games,
    played.G_p / nullif(played.G_all, 0) as pitcher_share,
    played.G_c / nullif(played.G_all, 0) as catcher_share,
    (played.G_1b + played.G_2b + played.G_3b + played.G_ss)
    / nullif(played.G_all, 0) as infield_share,
    played.G_ss / nullif(played.G_all, 0) as shortstop_share,
    played.G_of / nullif(played.G_all, 0) as outfield_share,
    played.G_dh / nullif(played.G_all, 0) as hitter_only_share,
    played.G_ph as pinch_hits,
    make_timestamp(played.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.Appearances as played
left join validated.Teams as teams
    on played.yearID = teams.yearID and played.teamID = teams.teamID
order by played.playerID, played.yearID, played.teamID
