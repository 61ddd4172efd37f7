-- One row per player, season and stint with a team; `era_of_league` compares the earned run average
-- with everybody's in that season and league, and is below one for the better.
with lines as (
    select
        pitching.*,
        pitching.IPouts / 3 as innings,
        27 * sum(pitching.ER) over season / nullif(sum(pitching.IPouts) over season, 0) as league_era
    from validated.Pitching as pitching
    window season as (partition by pitching.yearID, pitching.lgID)
)

select
    lines.playerID,
    lines.yearID,
    lines.stint,
    lines.teamID,
    lines.G as games,
    lines.GS as games_started,
    lines.innings,
    lines.W as wins,
    lines.L as losses,
    lines.SV as saves,
    lines.CG as complete_games,
    lines.SHO as shutouts,
    lines.SO as strikeouts,
    lines.W / nullif(lines.W + lines.L, 0) as win_share,
    lines.GS / nullif(lines.G, 0) as starter_share,
    9 * lines.ER / nullif(lines.innings, 0) as earned_run_average,
    9 * lines.ER / nullif(lines.innings, 0) / nullif(lines.league_era, 0) as era_of_league,
    (lines.BB + lines.H) / nullif(lines.innings, 0) as whip,
    9 * lines.SO / nullif(lines.innings, 0) as strikeouts_per_nine,
    9 * lines.BB / nullif(lines.innings, 0) as walks_per_nine,
    9 * lines.HR / nullif(lines.innings, 0) as home_runs_per_nine,
    make_timestamp(lines.yearID, 12, 31, 0, 0, 0.0) as known_at
from lines
order by lines.playerID, lines.yearID, lines.stint
