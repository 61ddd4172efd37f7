-- One row per product. Names that only a handful of products have are left to its category.
select
    products.product_id,
    products.department,
    products.brand,
    products.product_category as category,
    products.manufacturer_id = 69 as own_label
from validated.products as products
order by products.product_id
