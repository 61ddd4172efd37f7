-- One row per circuit.
select
    circuits.id,
    circuits.fullName as full_name,
    circuits.type,
    circuits.direction,
    circuits.countryId as country,
    circuits.latitude,
    circuits.longitude,
    circuits.length as length_km,
    circuits.turns
from validated.circuits as circuits
order by circuits.id
