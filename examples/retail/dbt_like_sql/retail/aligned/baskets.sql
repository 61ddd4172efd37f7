-- One row per basket: what it cost, how many things it held, when it was bought. It keeps the key of
-- its first row.
select
    baskets.basket_id,
    min(baskets.product_id) as product_id,
    any_value(baskets.household_id) as household_id,
    count(*) as things,
    count(distinct products.department) as departments,
    sum(baskets.sales_value) as paid,
    sum(baskets.retail_disc) as discount,
    sum(baskets.coupon_disc + baskets.coupon_match_disc) as by_coupon,
    hour(min(baskets.transaction_timestamp)) as hour_of_day,
    isodow(min(baskets.transaction_timestamp)) as weekday,
    min(baskets.transaction_timestamp) as transaction_timestamp
from validated.baskets as baskets
left join validated.products as products on baskets.product_id = products.product_id
group by baskets.basket_id
order by baskets.basket_id
