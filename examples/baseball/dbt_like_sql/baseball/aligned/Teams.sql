-- One row per team and season, known when the year is over.
select
    teams.yearID,
    teams.teamID,
    teams.lgID as league,
    teams.divID as division,
    teams.franchID as franchise,
    teams.Rank as standing,
    teams.W / nullif(teams.G, 0) as win_share,
    teams.DivWin = 'Y' as won_division,
    teams.LgWin = 'Y' as won_league,
    teams.WSWin = 'Y' as won_world_series,
    teams.R / nullif(teams.G, 0) as runs_per_game,
    teams.RA / nullif(teams.G, 0) as runs_allowed_per_game,
    teams.HR / nullif(teams.G, 0) as home_runs_per_game,
    teams.ERA as earned_run_average,
    teams.FP as fielding_share,
    teams.attendance / nullif(teams.Ghome, 0) as attendance_per_game,
    teams.BPF as park_factor,
    make_timestamp(teams.yearID, 12, 31, 0, 0, 0.0) as known_at
from validated.Teams as teams
order by teams.yearID, teams.teamID
