-- One row per player, season and team: the pay for the season that begins in April.
select
    salaries.playerID,
    salaries.yearID,
    salaries.teamID,
    salaries.teamID as team,
    log10(nullif(salaries.salary, 0)) as salary_log10,
    salaries.salary
    / nullif(median(salaries.salary) over (partition by salaries.yearID), 0) as share_of_median,
    percent_rank() over (partition by salaries.yearID order by salaries.salary) as rank_share,
    make_timestamp(salaries.yearID, 4, 30, 0, 0, 0.0) as known_at
from validated.Salaries as salaries
order by salaries.playerID, salaries.yearID, salaries.teamID
