"""SQL that compares entities is found, and SQL that keeps to one entity is not accused."""

import pytest
import tiny

from nexus_model.align.recipe import SqlText
from nexus_model.serve.comparing import comparing_models

ALONE = {
    "a projection": "select id, amount * 2 as twice from validated.orders",
    "a join": "select o.id, p.price from aligned.o o join validated.products p using (sku)",
    "a count of one's own": "select customer_id, count(*) as n from aligned.o group by customer_id",
    "a rank of one's own": "select id, row_number() over (partition by customer_id) from aligned.o",
    "a group with it": "select customer_id, sku, sum(n) from aligned.o group by customer_id, sku",
}
COMPARING = {
    "a share of all": "select id, amount / sum(amount) over () as share from validated.orders",
    "a rank in a race": "select id, rank() over (partition by race) as place from validated.orders",
    "a total": "select max(amount) as most from validated.orders",
    "a group of several": "select sku, avg(amount) as mean from validated.orders group by sku",
    "a mean in a query": "select id, amount - (select avg(amount) from validated.orders) as above"
    " from validated.orders",
    "a mean in a with": "with m as (select avg(amount) a from validated.orders)"
    " select id, amount - m.a as above from validated.orders, m",
}


def recipe_of(sql: str):
    recipe = tiny.tiny_recipe()
    return recipe.model_copy(update={"models": (SqlText(name="orders", sql=sql),)})


@pytest.mark.parametrize("sql", ALONE.values(), ids=ALONE)
def test_a_model_of_ones_own_rows_compares_nobody(sql):
    assert comparing_models(recipe_of(sql)) == ()


@pytest.mark.parametrize("sql", COMPARING.values(), ids=COMPARING)
def test_a_model_that_reads_others_rows_is_named(sql):
    assert comparing_models(recipe_of(sql)) == ("orders",)
