-- A basket is carried home by one household, at one moment.
select
    items.basket_id,
    count(distinct items.household_id) as households,
    count(distinct items.transaction_timestamp) as moments
from aligned.transactions as items
group by items.basket_id
having count(distinct items.household_id) > 1
