-- One row per player, season and stint with a team. Rates are those of the rule book; `ops_of_league`
-- compares with everybody's rate in that season and league, since the game changes.
with lines as (
    select
        batting.*,
        batting.AB + coalesce(batting.BB, 0) + coalesce(batting.HBP, 0)
        + coalesce(batting.SF, 0) as chances,
        batting.H + coalesce(batting.BB, 0) + coalesce(batting.HBP, 0) as times_on_base,
        batting.H + batting."2B" + 2 * batting."3B" + 3 * batting.HR as total_bases
    from validated.Batting as batting
),

rates as (
    select
        lines.*,
        lines.times_on_base / nullif(lines.chances, 0) as on_base,
        lines.total_bases / nullif(lines.AB, 0) as slugging,
        sum(lines.times_on_base) over season / nullif(sum(lines.chances) over season, 0)
        + sum(lines.total_bases) over season / nullif(sum(lines.AB) over season, 0) as league_ops
    from lines
    window season as (partition by lines.yearID, lines.lgID)
)

select
    rates.playerID,
    rates.yearID,
    rates.stint,
    rates.teamID,
    rates.G as games,
    rates.chances,
    rates.AB as at_bats,
    rates.R as runs,
    rates.H as hits,
    rates.HR as home_runs,
    rates.RBI as runs_batted_in,
    rates.SB as stolen_bases,
    rates.BB as walks,
    rates.SO as strikeouts,
    rates.H / nullif(rates.AB, 0) as batting_average,
    rates.on_base,
    rates.slugging,
    (rates.on_base + rates.slugging) / nullif(rates.league_ops, 0) as ops_of_league,
    rates.HR / nullif(rates.AB, 0) as home_run_rate,
    rates.BB / nullif(rates.chances, 0) as walk_rate,
    rates.SO / nullif(rates.chances, 0) as strikeout_rate,
    make_timestamp(rates.yearID, 12, 31, 0, 0, 0.0) as known_at
from rates
order by rates.playerID, rates.yearID, rates.stint
