-- One row per household that is described. Bands are texts in an order; their lower ends are numbers.
select
    households.household_id,
    households.age,
    households.income,
    households.home_ownership,
    households.marital_status,
    households.household_comp,
    try_cast(regexp_extract(households.age, '^\d+') as integer) as age_from,
    try_cast(regexp_extract(households.income, '\d+') as integer) as income_from,
    try_cast(regexp_extract(households.household_size, '^\d+') as integer) as persons,
    try_cast(regexp_extract(households.kids_count, '^\d+') as integer) as kids
from validated.households as households
order by households.household_id
