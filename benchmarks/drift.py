"""How often monitoring is wrong: false alarms without a shift, and what is found of planted shifts.

    python -m benchmarks.drift [draws] [customers]

A draw is a whole monitoring run. The customers of a generated shop are divided by chance, each
with all that is theirs; one half is the reference and the other is now. Every column of every
table, every table as a whole, predictions, labels and novelty are tested and corrected together.
Predictions are the true probability of churn, vectors what its parts add up to: nothing is trained,
so that it is the tests that are measured. A planted shift changes one column of now. (Two shops of
different seeds are no null: they sell different products.)
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute

from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.align.relate import link_rows, number_rows, quoted
from nexus_model.schema import (
    ColumnSpec,
    DatabaseSpec,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_pipeline.generate.parts import ShopParts
from nexus_pipeline.generate.shop import Shop, draw_shop
from nexus_pipeline.monitor.compare import decide
from nexus_pipeline.monitor.novelty import Vectors
from nexus_pipeline.monitor.observed import Observed, Said, as_labels, compare_observed
from nexus_pipeline.monitor.record import Finding
from nexus_pipeline.monitor.windows import read_rows
from nexus_pipeline.settings.monitoring import MonitoringConfig

RESULT = Path(__file__).parent / "results" / "drift.json"
TIMES = {
    "orders": "ordered_at", "support_tickets": "opened_at", "web_events": "happened_at",
    "campaigns": "sent_at",
}  # fmt: skip
OWNERS = {
    "orders": ["customers"], "order_items": ["orders", "products"],
    "support_tickets": ["customers"], "web_events": ["customers"], "campaigns": ["customers"],
}  # fmt: skip
KEYS = {
    "customers": "customer_id", "products": "product_id", "orders": "order_id",
    "order_items": "order_item_id", "support_tickets": "ticket_id", "web_events": "event_id",
    "campaigns": "campaign_id",
}  # fmt: skip
TASK = TaskSpec(
    name="churned", kind=TaskKind.BINARY, entity_table="customers", target_column="churned",
    classes=("0", "1"),
)  # fmt: skip
Change = Callable[[dict[str, pa.Table]], dict[str, pa.Table]]


class Half(NamedTuple):
    """Customers of a shop, all that is theirs, and the truth about them."""

    tables: dict[str, pa.Table]
    probability: np.ndarray
    label: np.ndarray
    vectors: Vectors


class Shift(NamedTuple):
    """A change of one column, and the name monitoring must tell."""

    name: str
    column: str
    change: Change


def recipe_of(tables: Mapping[str, pa.Table]) -> Recipe:
    """What a project over the shop reads."""
    database = DatabaseSpec(tables=tuple(_spec(name, table) for name, table in tables.items()))
    paths = find_paths(database, TASK.entity_table, 2)
    plans = tuple(PathPlan(path=path, max_rows=32) for path in paths)
    return Recipe(raw=(), database=database, task=TASK, plans=plans)


def _spec(name: str, table: pa.Table) -> TableSpec:
    parents = OWNERS.get(name, [])
    used = {KEYS[name], TIMES.get(name), *(KEYS[parent] for parent in parents), "churned"}
    return TableSpec(
        name=name,
        columns=tuple(
            ColumnSpec(name=field.name, semantic=_semantic(field))
            for field in table.schema
            if field.name not in used
        ),
        primary_key=(KEYS[name],),
        foreign_keys=tuple(
            ForeignKey(columns=(KEYS[parent],), references_table=parent,
                       references_columns=(KEYS[parent],))
            for parent in parents
        ),
        time_column=TIMES.get(name),
    )  # fmt: skip


def _semantic(field: pa.Field) -> SemanticType:
    if field.name == "text":
        return SemanticType.TEXT
    if pa.types.is_temporal(field.type):
        return SemanticType.TIMESTAMP
    is_text = pa.types.is_string(field.type)
    return SemanticType.CATEGORICAL if is_text else SemanticType.NUMERICAL


def halves(seed: int, customers: int) -> tuple[Half, Half]:
    """A shop of twice as many customers, each with all that is theirs in one half by chance."""
    shop = draw_shop(2 * customers, seed, ShopParts())
    first = np.random.default_rng(seed).permutation(2 * customers) < customers
    found = (_half(shop, seed, chosen) for chosen in (first, ~first))
    then, now = found
    return then, now


def _half(shop: Shop, seed: int, chosen: np.ndarray) -> Half:
    tables = dict(shop.tables)
    for name in ("customers", "orders", "support_tickets", "web_events", "campaigns"):
        owner = tables[name]["customer_id"].to_numpy() - 1
        tables[name] = tables[name].filter(pa.array(chosen[owner]))
    kept = pa.compute.is_in(tables["order_items"]["order_id"], tables["orders"]["order_id"])
    tables["order_items"] = tables["order_items"].filter(kept)
    states = np.column_stack([*shop.truth.contributions.values(), np.ones(len(chosen))])[chosen]
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    keys = tuple(f"{seed}-{customer}" for customer in np.flatnonzero(chosen)[:1000])
    return Half(
        tables,
        np.asarray(shop.truth.probability, dtype=np.float64)[chosen],
        np.asarray(shop.truth.label)[chosen],
        Vectors(states[: len(keys)], keys),
    )


def observe(half: Half, config: MonitoringConfig, change: Change | None = None) -> Observed:
    """Half a shop as monitoring sees it, through the tables of a store."""
    tables = half.tables if change is None else change(dict(half.tables))
    recipe = recipe_of(tables)
    with duckdb.connect(config={"threads": 1}) as con:
        con.execute("create schema aligned")
        for name, table in tables.items():
            con.register("given", table)
            con.execute(f"create table {quoted('raw_' + name)} as select * from given")
            con.unregister("given")
            number_rows(con, f"select * from {quoted('raw_' + name)}", recipe.database[name])
        for spec in recipe.database.tables:
            link_rows(con, spec)
        rows = read_rows(con, recipe, None, config.most_rows)
    labels = as_labels(TASK, pa.table({"label": half.label}))
    return Observed(rows, Said(half.probability), labels, half.vectors)


def monitor(
    reference: Observed, current: Observed, config: MonitoringConfig
) -> tuple[Finding, ...]:
    """One whole run."""
    return decide(config, compare_observed(config, TASK.name, reference, current))


def _changed(table: str, column: str, values: Callable[[pa.ChunkedArray], pa.Array]) -> Change:
    def change(tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
        own = tables[table]
        at = own.schema.get_field_index(column)
        return tables | {table: own.set_column(at, column, values(own[column]))}

    return change


def _scaled(values: pa.ChunkedArray) -> pa.Array:
    return pa.array(values.to_numpy() * 1.5)


def _one_category(values: pa.ChunkedArray) -> pa.Array:
    said = np.array(values.to_pylist(), dtype=object)
    first = min({*said.tolist()})
    said[np.random.default_rng(1).random(len(said)) < 0.35] = first
    return pa.array(said.tolist())


def _lost(values: pa.ChunkedArray) -> pa.Array:
    return pa.array(values.to_pylist(), mask=np.random.default_rng(2).random(len(values)) < 0.15)


SHIFTS = (
    Shift("a number times 1.5", "orders.amount", _changed("orders", "amount", _scaled)),
    Shift("a third into one category", "orders.channel",
          _changed("orders", "channel", _one_category)),
    Shift("15 % missing", "customers.age", _changed("customers", "age", _lost)),
)  # fmt: skip


def measure(draws: int, customers: int, config: MonitoringConfig) -> dict[str, object]:
    """False alarms over draws without a shift; what is named of each shift, over ten draws."""
    started, alarms, tests, by_p = time.perf_counter(), [], 0, 0
    for draw in range(draws):
        then, now = halves(draw, customers)
        found = monitor(observe(then, config), observe(now, config), config)
        tests = len(found)
        by_p += any(one.corrected < config.alpha for one in found)
        moved = [f"{one.name} {one.measure}" for one in found if one.moved]
        if moved:
            alarms.append({"draw": draw, "moved": moved})
        sys.stderr.write(f"\rdraw {draw + 1} of {draws}: {len(alarms)} alarms")
    planted = {shift.name: _named(shift, customers, config) for shift in SHIFTS}
    sys.stderr.write("\n")
    return {
        "draws": draws,
        "customers": customers,
        "tests_per_run": tests,
        "settings": config.model_dump(mode="json"),
        "false_alarms": len(alarms),
        "false_alarms_by_p_alone": by_p,
        "alarms": alarms,
        "planted": planted,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _named(shift: Shift, customers: int, config: MonitoringConfig) -> dict[str, object]:
    exact, others = 0, set[str]()
    for draw in range(10):
        then, now = halves(1000 + draw, customers)
        found = monitor(observe(then, config), observe(now, config, shift.change), config)
        columns = {one.name for one in found if one.moved and one.column}
        exact += columns == {shift.column}
        others |= columns - {shift.column}
    return {"column": shift.column, "draws": 10, "named_and_nothing_else": exact,
            "others": sorted(others)}  # fmt: skip


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    result = measure(*(given + [100, 1500][len(given) :])[:2], MonitoringConfig())
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(result, indent=1) + "\n")
