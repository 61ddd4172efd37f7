-- One row per airport.
select
    airports.faa,
    airports.lat as latitude,
    airports.lon as longitude,
    airports.alt as altitude_feet,
    airports.tz as hours_from_utc,
    nullif(airports.tzone, 'NA') as zone
from validated.airports as airports
order by airports.faa
