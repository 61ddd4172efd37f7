-- One row per school.
select
    schools.schoolID,
    schools.name_full as school,
    schools.state,
    schools.country
from validated.Schools as schools
order by schools.schoolID
