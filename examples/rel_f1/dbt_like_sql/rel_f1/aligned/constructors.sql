-- One row per constructor.
select
    constructors.constructorId,
    constructors.name,
    constructors.nationality
from validated.constructors as constructors
order by constructors.constructorId
