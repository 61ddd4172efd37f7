-- A constructor's race and its last ten, from the results of its cars; a few rows have no car.
select
    team.constructorResultsId,
    team.raceId,
    team.constructorId,
    team.points
    / nullif(max(team.points) over (partition by team.raceId), 0) as share_of_best,
    form.cars,
    form.finish_share,
    form.best_finish_share,
    form.grid_share,
    form.lap_share,
    form.did_not_finish,
    form.retired,
    form.finish_share_10,
    form.grid_share_10,
    form.did_not_finish_10,
    form.retired_10,
    races.known_at
from validated.constructor_results as team
inner join aligned.races as races on team.raceId = races.raceId
left join aligned.constructor_form as form
    on team.raceId = form.raceId and team.constructorId = form.constructorId
order by team.constructorResultsId
