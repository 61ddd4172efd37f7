-- One row per constructor.
select
    constructors.id,
    constructors.name,
    constructors.countryId as country
from validated.constructors as constructors
order by constructors.id
