-- One row per product in a basket, as it was paid.
select
    transactions.basket_id,
    transactions.product_id,
    transactions.household_id,
    transactions.quantity,
    transactions.sales_value,
    transactions.retail_disc,
    transactions.coupon_disc,
    transactions.transaction_timestamp
from validated.transactions as transactions
order by transactions.basket_id, transactions.product_id
