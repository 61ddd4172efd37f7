-- One row per driver. The day of death and the permanent number (given since 2014) are left out:
-- they would tell the past what only the future knows.
select
    drivers.id,
    drivers.nationalityCountryId as nationality,
    cast(drivers.dateOfBirth as timestamp) as born_at
from validated.drivers as drivers
order by drivers.id
