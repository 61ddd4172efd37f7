-- One row per driver. Number and code are left out: only drivers who raced this century have them,
-- so they would tell the past what only the future knows.
select
    drivers.driverId,
    drivers.nationality,
    cast(drivers.dob as timestamp) as born_at
from validated.drivers as drivers
order by drivers.driverId
