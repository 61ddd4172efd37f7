-- One row per circuit.
select
    circuits.circuitId,
    circuits.circuitRef as circuit,
    circuits.country,
    circuits.lat as latitude,
    circuits.lng as longitude,
    cast(circuits.alt as double) as altitude_m
from validated.circuits as circuits
order by circuits.circuitId
