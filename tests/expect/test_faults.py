"""Planted faults: each is found by name, and a clean copy is silent."""

import shutil

import numpy as np
import polars as pl
import pytest

from nexus_pipeline.expect.accepted import Severity
from nexus_pipeline.expect.leaks import LeakKind
from nexus_pipeline.expect.problem import OF_A_TABLE, Check
from nexus_pipeline.generate.shop import generate_project
from nexus_pipeline.steps.align import read_recipe
from tests.expect.conftest import CUSTOMERS, Planted
from tests.expect.stages import align, validate

ERROR, WARN = Severity.ERROR, Severity.WARN
EVERY_OTHER = pl.int_range(pl.len()) % 2 == 0


def where(condition, value, column):
    return lambda t: t.with_columns(
        pl.when(condition).then(value).otherwise(pl.col(column)).alias(column)
    )


def doubled(table):
    again = table.with_columns(pl.col("order_id") + 1_000_000)
    return pl.concat([table, again])


def swapped(table):
    return table.with_columns(pl.col("plan").alias("region"), pl.col("region").alias("plan"))


FAULTS = {
    "removed column": ("orders", lambda t: t.drop("channel"), Check.COLUMNS, "channel", ERROR),
    "added column": (
        "orders", lambda t: t.with_columns(note=pl.lit("x")), Check.COLUMNS, "note", WARN,
    ),
    "retyped column": (
        "products", lambda t: t.with_columns(pl.format("{} EUR", "price").alias("price")),
        Check.COLUMNS, "price", ERROR,
    ),
    "null flood": ("orders", where(EVERY_OTHER, None, "amount"), Check.COLUMNS, "amount", ERROR),
    "duplicated keys": (
        "orders", lambda t: pl.concat([t, t.head(len(t) // 4)]), Check.ROWS, "order_id", WARN,
    ),
    "orphan flood": (
        "support_tickets", where(EVERY_OTHER, pl.col("customer_id") + 9_999, "customer_id"),
        Check.LINKS, "customer_id", WARN,
    ),
    "numbers out of range": (
        "products", where(EVERY_OTHER, pl.col("price") * 100, "price"), Check.VALUES, "price", WARN,
    ),
    "unknown category flood": (
        "customers", where(EVERY_OTHER, pl.lit("gold"), "plan"), Check.VALUES, "plan", WARN,
    ),
    "swapped columns": ("customers", swapped, Check.VALUES, "region", WARN),
    "volume drop": ("web_events", lambda t: t.head(len(t) // 4), Check.ROWS, "", WARN),
    "volume doubled": ("orders", doubled, Check.ROWS, "", WARN),
    "stale table": (
        "web_events", lambda t: t.filter(pl.col("happened_at") < "2025-11"),
        Check.NEWEST, "happened_at", WARN,
    ),
    "rows of the future": (
        "orders", where(pl.int_range(pl.len()) < 7, pl.lit("2090-01-01"), "ordered_at"),
        Check.VALUES, "ordered_at", WARN,
    ),
    "a default date": (
        "support_tickets", where(EVERY_OTHER, pl.lit("1900-01-01"), "opened_at"),
        Check.VALUES, "opened_at", WARN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_tables_is_found_by_name(planted, fault):
    table, change, check, column, severity = FAULTS[fault]
    planted.change(table, change)
    found = planted.unexpected()
    mine = next(p for p in found if (p.check, p.table, p.column) == (check, table, column))
    assert mine.severity is severity
    assert len(mine.examples) <= 5
    said = (planted.folder / mine.file).read_text("utf-8").splitlines()[mine.line - 1]
    assert not column or column in said or mine.kind == "a new column" or check is Check.ROWS
    assert f"{mine.file}:{mine.line}" in mine.told()
    assert {p.table for p in found if p.check in OF_A_TABLE} <= {table}


def test_a_clean_copy_is_silent(accepted_shop, timed_shop):
    assert accepted_shop.unexpected() == ()
    assert accepted_shop.leaks() == []
    assert timed_shop.leaks() == []


def test_another_draw_of_the_same_shop_is_as_accepted(planted, tmp_path):
    generate_project("shop", tmp_path / "other", CUSTOMERS, 1)
    raw = planted.project.raw_path("orders").parent
    for file in (tmp_path / "other").rglob("*.csv"):
        (raw / file.name).write_bytes(file.read_bytes())
    validate(planted.project)
    assert [p.told() for p in planted.unexpected() if p.severity is ERROR] == []


@pytest.fixture(scope="module")
def leaky(accepted_shop, tmp_path_factory):
    """A copy of the target, a column nearly one, and tickets of those only who churned."""
    folder = tmp_path_factory.mktemp("leaky") / "shop"
    shutil.copytree(accepted_shop.folder, folder)
    shop = Planted(folder)
    people = pl.read_csv(shop.project.raw_path("customers"))
    gone = people.filter(pl.col("churned") == 1)["customer_id"].to_numpy()
    noise = pl.Series(np.random.default_rng(0).normal(0, 0.28, CUSTOMERS))
    word = pl.when(pl.col("churned") == 1).then(pl.lit("gone")).otherwise(pl.lit("here"))
    shop.change("customers", lambda t: t.with_columns(state=word, risk=pl.col("churned") + noise))
    shop.change(
        "support_tickets",
        lambda t: t.with_columns(customer_id=pl.Series(np.resize(gone, len(t)))),
    )
    align(shop.project)
    return shop


LEAKS = {
    "target copy": (LeakKind.COPY, "customers.state"),
    "too-good column": (LeakKind.TOO_GOOD, "customers.risk"),
    "rows written after the event": (LeakKind.ROWS, "support_tickets"),
}


@pytest.mark.parametrize("fault", LEAKS)
def test_a_leak_is_found_by_name(leaky, fault):
    found = {(leak.kind, leak.name): leak for leak in leaky.leaks()}
    assert LEAKS[fault] in found
    assert {name.split(".")[0] for _, name in found} == {"customers", "support_tickets"}
    assert {name for _, name in found if name.startswith("customers")} == {
        "customers.state", "customers.risk",
    }  # fmt: skip
    assert all(leak.name in leak.advised() for leak in found.values())


def test_an_entity_in_two_splits_is_found(planted):
    with planted.store.write() as con:
        con.execute(
            "insert into aligned.samples_churned select * replace ('test' as split) "
            "from aligned.samples_churned where split = 'train' limit 3"
        )
    leak = planted.leaks()[0]
    assert (leak.kind, leak.name, leak.rows) == (LeakKind.OVERLAP, "customers", 6)


def test_a_row_later_than_the_question_is_found_in_the_stored_index(timed):
    recipe = read_recipe(timed.project, "buys")
    number = next(n for n, path in enumerate(recipe.paths) if path.table == "orders")
    file = timed.folder / f"data/aligned/shop/buys/path{number}_rows_N.npy"
    rows_N = np.load(file)
    rows_N[:5] = rows_N.max() - np.arange(5)
    np.save(file, rows_N)
    leak = timed.leaks()[0]
    assert (leak.kind, leak.name) == (LeakKind.FUTURE, "orders")
    assert 1 <= leak.rows == len(leak.examples) <= 5
