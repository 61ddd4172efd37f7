-- One row per household that ever buys. Two in three have no demographics: nothing is known of such a
-- household but what it does. Bands are texts in an order; their lower ends are numbers.
with buying as (
    select distinct transactions.household_id
    from validated.transactions as transactions
)

select
    buying.household_id,
    demographics.household_id is not null as described,
    demographics.age,
    demographics.income,
    demographics.home_ownership,
    demographics.marital_status,
    demographics.household_comp,
    try_cast(regexp_extract(demographics.age, '^\d+') as integer) as age_from,
    try_cast(regexp_extract(demographics.income, '\d+') as integer) as income_from,
    try_cast(regexp_extract(demographics.household_size, '^\d+') as integer) as persons,
    try_cast(regexp_extract(demographics.kids_count, '^\d+') as integer) as kids
from buying
left join validated.households as demographics
    on buying.household_id = demographics.household_id
order by buying.household_id
