-- The airports flights leave from.
select
    airports.faa,
    airports.name,
    airports.alt as altitude_feet
from validated.origins as airports
where airports.faa in ('EWR', 'JFK', 'LGA')
order by airports.faa
