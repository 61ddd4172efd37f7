-- One row per player. What only the future knows is left out: the last game, the day of death. The
-- first game is past for everybody who is asked about.
select
    people.playerID,
    make_timestamp(
        people.birthYear, coalesce(people.birthMonth, 7), coalesce(people.birthDay, 1), 0, 0, 0.0
    ) as born_at,
    cast(people.debut as timestamp) as debut_at,
    people.birthCountry as country,
    people.birthState as state,
    people.height as height_in,
    people.weight as weight_lb,
    people.bats,
    people.throws
from validated.People as people
order by people.playerID
