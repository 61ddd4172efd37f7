-- What a household spends in the next four weeks, as log10 of 1 + dollars: 2 is a hundred dollars.
-- Asked every four weeks about households that bought in the twelve weeks before.
with active as (
    select distinct cutoffs.cutoff, past.household_id
    from aligned.cutoffs_spend as cutoffs
    inner join aligned.transactions as past
        on past.transaction_timestamp <= cutoffs.cutoff
        and past.transaction_timestamp > cutoffs.cutoff - interval 84 day
    inner join aligned.households as households on past.household_id = households.household_id
)

select
    active.household_id,
    active.cutoff,
    log10(1 + coalesce(sum(future.sales_value), 0)) as label
from active
left join aligned.transactions as future
    on active.household_id = future.household_id
    and future.transaction_timestamp > active.cutoff
    and future.transaction_timestamp <= active.cutoff + interval 28 day
group by active.household_id, active.cutoff
order by active.cutoff, active.household_id
