-- The two readings of the file agree.
with items as (
    select items.basket_id, sum(items.sales_value) as paid
    from aligned.transactions as items
    group by items.basket_id
)

select baskets.basket_id, baskets.paid, items.paid as by_items
from aligned.baskets as baskets
left join items on baskets.basket_id = items.basket_id
where items.paid is null or abs(items.paid - baskets.paid) > 0.005
