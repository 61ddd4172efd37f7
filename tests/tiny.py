"""A small shop as a relational database, and everything the library makes of it.

customers (untimed) <- orders (timed) <- order_items (untimed) -> products -> brands (two foreign
keys, and one to itself); customers and orders -> shops <- prices (timed); customers <- tickets
(text). Sizes are different primes, so that a swapped axis cannot pass.
"""

import datetime as dt
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import torch

from nexus_model.align.assemble import build_aligned, closed_database, load_frames
from nexus_model.align.index import PathIndex, SampleTimes, read_samples
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, RawColumn, RawTable, Recipe, SqlText
from nexus_model.align.samples import (
    EntitySplit,
    Grid,
    TimeSplit,
    history_name,
    history_table,
    samples_select,
    static_samples_select,
)
from nexus_model.config import NexusConfig
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.model import NexusFormer
from nexus_model.schema import (
    ColumnSpec,
    DatabaseSpec,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.prepare import NO_READERS, fit_tokenizer, index_paths, task_tensors
from nexus_model.tokenize.statistics import NumericalScaling, Tokenizer

START = dt.datetime(2020, 1, 1)
DAY = dt.timedelta(days=1)
DAYS = 240
SIZES = {
    "brands": 5, "products": 7, "shops": 3, "customers": 11, "orders": 41, "order_items": 53,
    "tickets": 17, "prices": 19,
}  # fmt: skip

NUMBER, CLASS = SemanticType.NUMERICAL, SemanticType.CATEGORICAL
MOMENT, TEXT = SemanticType.TIMESTAMP, SemanticType.TEXT
_TYPES = {NUMBER: "DOUBLE", CLASS: "VARCHAR", MOMENT: "TIMESTAMP", TEXT: "VARCHAR"}
_WORDS = ("late", "broken", "thanks", "again", "refund", "lovely", "where", "order")


def table_spec(name, columns=None, keys=None, time=None, primary_key=("id",)):
    """A table; ``keys`` maps a foreign key column to the table whose ``id`` it names."""
    return TableSpec(
        name=name,
        columns=tuple(ColumnSpec(name=n, semantic=s) for n, s in (columns or {}).items()),
        primary_key=primary_key,
        foreign_keys=tuple(
            ForeignKey(columns=(column,), references_table=parent, references_columns=("id",))
            for column, parent in (keys or {}).items()
        ),
        time_column=time,
    )


DATABASE = DatabaseSpec(
    tables=(
        table_spec("brands", {"style": CLASS}, {"parent_id": "brands"}),
        table_spec("products", {"price": NUMBER}, {"maker_id": "brands", "seller_id": "brands"}),
        table_spec("shops", {"region": CLASS}),
        table_spec(
            "customers",
            {"age": NUMBER, "city": CLASS, "joined_at": MOMENT},
            {"shop_id": "shops"},
        ),
        table_spec(
            "orders",
            {"total": NUMBER, "channel": CLASS, "promised_at": MOMENT},
            {"customer_id": "customers", "shop_id": "shops"},
            "placed_at",
        ),
        table_spec(
            "order_items",
            {"quantity": NUMBER},
            {"order_id": "orders", "product_id": "products"},
            primary_key=("order_id", "line"),
        ),
        table_spec("tickets", {"body": TEXT}, {"customer_id": "customers"}, "opened_at"),
        table_spec("prices", {"level": NUMBER}, {"shop_id": "shops"}, "set_at"),
    )
)

LABELS = {
    TaskKind.BINARY: "cast(count(orders.id) > 0 as integer)",
    TaskKind.REGRESSION: "coalesce(sum(orders.total), 0)",
    TaskKind.QUANTILE: "coalesce(sum(orders.total), 0)",
    TaskKind.MULTICLASS: "least(count(orders.id), 2)",
}
CLASSES = {TaskKind.MULTICLASS: ("none", "one", "more")}


class Tiny(NamedTuple):
    """A task on the tiny database, from its tables to its tensors."""

    con: duckdb.DuckDBPyConnection
    recipe: Recipe
    times: SampleTimes
    indexes: tuple[PathIndex, ...]
    label_B: np.ndarray
    split_B: np.ndarray
    tokenizer: Tokenizer
    tensors: TaskTensors

    @property
    def every_B(self):
        """All sample numbers."""
        return np.arange(len(self.label_B))

    def samples(self, split):
        """Sample numbers of a split."""
        return np.flatnonzero(self.split_B == split)


def moment(days):
    """So many days after the start; None stays None."""
    return None if days is None else START + float(days) * DAY


def tiny_frames(seed=0, sizes=SIZES):
    """Raw tables: gaps, orphans, ties in time, a customer without orders, rows in any order."""
    rng = np.random.default_rng(seed)

    def some(table, count, *, gaps=0.1):
        ids = rng.integers(1, max(1, sizes[table]) + 1, count).tolist()
        return [None if rng.random() < gaps else i for i in ids]

    def days(count, *, every_gap=0):
        found = [moment(day) for day in rng.integers(0, DAYS, count).tolist()]
        return [None if every_gap and at % every_gap == 2 else t for at, t in enumerate(found)]

    def word(words, count):
        return [str(w) if rng.random() > 0.1 else None for w in rng.choice(words, count)]

    def floats(count):
        return [float(x) if rng.random() > 0.1 else None for x in rng.normal(50, 20, count)]

    def ids(table):
        return (rng.permutation(sizes[table]) + 1).tolist()

    n = dict(sizes)
    named = rng.integers(2, max(2, n["customers"]) + 1, n["orders"]).tolist()
    return {
        "brands": {
            "id": ids("brands"),
            "style": word(["plain", "loud"], n["brands"]),
            "parent_id": some("brands", n["brands"]),
        },
        "products": {
            "id": ids("products"),
            "price": floats(n["products"]),
            "maker_id": some("brands", n["products"]),
            "seller_id": some("brands", n["products"]),
        },
        "shops": {"id": ids("shops"), "region": word(["north", "south"], n["shops"])},
        "customers": {
            "id": ids("customers"),
            "age": floats(n["customers"]),
            "city": word(["Ulm", "Aalen", "Kiel"], n["customers"]),
            "joined_at": days(n["customers"], every_gap=5),
            "shop_id": some("shops", n["customers"]),
            "vip": rng.choice(["no", "yes"], n["customers"]).tolist(),
        },
        "orders": {
            "id": ids("orders"),
            "customer_id": [999 if at == 1 else i for at, i in enumerate(named)],
            "shop_id": some("shops", n["orders"]),
            "total": floats(n["orders"]),
            "channel": word(["web", "phone", "shop"], n["orders"]),
            "promised_at": days(n["orders"], every_gap=7),
            "placed_at": days(n["orders"]),
        },
        "order_items": {
            "order_id": some("orders", n["order_items"], gaps=0),
            "line": list(range(n["order_items"])),
            "product_id": some("products", n["order_items"]),
            "quantity": floats(n["order_items"]),
        },
        "tickets": {
            "id": ids("tickets"),
            "customer_id": some("customers", n["tickets"]),
            "body": [" ".join(rng.choice(_WORDS, 5)) for _ in range(n["tickets"])],
            "opened_at": days(n["tickets"]),
        },
        "prices": {
            "id": ids("prices"),
            "shop_id": some("shops", n["prices"]),
            "level": floats(n["prices"]),
            "set_at": days(n["prices"]),
        },
    }


def raw_table(table):
    """The types a table's frame is cast to."""
    keys = dict.fromkeys(table.key_columns, "BIGINT")
    columns = keys | {column.name: _TYPES[column.semantic] for column in table.columns}
    if table.time_column:
        columns[table.time_column] = "TIMESTAMP"
    listed = tuple(RawColumn(name=name, type=kind) for name, kind in columns.items())
    return RawTable(name=table.name, columns=listed)


def as_arrow(recipe, frames):
    """The columns as Arrow tables; an empty column takes the type it will be cast to."""
    raw = {table.name: table.columns for table in recipe.raw}
    types = {"DOUBLE": pa.float64(), "VARCHAR": pa.string(), "BIGINT": pa.int64()}
    types["TIMESTAMP"] = pa.timestamp("us")
    tables = {}
    for name, columns in frames.items():
        known = {column.name: types[column.type] for column in raw[name]}
        tables[name] = pa.table(
            {column: pa.array(v, known.get(column)) for column, v in columns.items()}
        )
    return tables


def tiny_recipe(kind=TaskKind.BINARY, *, static=False, max_rows=5, models=()):
    """The recipe of a question about customers: who orders again, or (static) who is a vip."""
    if static:
        task = TaskSpec(
            name="vip", kind=TaskKind.BINARY, entity_table="customers", target_column="vip",
            classes=("no", "yes"),
        )  # fmt: skip
        raw = [raw_table(table) for table in DATABASE.tables]
        return _planned(DATABASE, task, raw, max_rows, models=models)
    task = TaskSpec(
        name="again", kind=kind, entity_table="customers", horizon_days=30,
        classes=CLASSES.get(kind, ()),
        quantiles=(0.1, 0.5, 0.9) if kind is TaskKind.QUANTILE else (),
    )  # fmt: skip
    labels = f"""
    select customers.id, cutoffs.cutoff, {LABELS[kind]} as label
    from aligned.cutoffs_again as cutoffs
    cross join aligned.customers as customers
    left join aligned.orders as orders on orders.customer_id = customers.id
        and orders.placed_at > cutoffs.cutoff and orders.placed_at <= cutoffs.window_end
    group by customers.id, cutoffs.cutoff
    """
    history = history_table(task, DATABASE["customers"])
    database = DatabaseSpec(tables=(*DATABASE.tables, history))
    return _planned(
        database,
        task,
        [raw_table(table) for table in DATABASE.tables],
        max_rows,
        models=(*models, SqlText(name="labels", sql=labels)),
        labels="labels",
        grid=GRID,
        cutoffs=f"cutoffs_{task.name}",
        history=history_name(task),
    )


def _planned(database, task, raw, max_rows, **rest):
    paths = find_paths(database, "customers", 2, [("orders", "shops", "prices")])
    plans = tuple(PathPlan(path=path, max_rows=max_rows) for path in paths)
    return Recipe(raw=tuple(raw), database=database, task=task, plans=plans, **rest)


def aligned_database(recipe, frames, last=None):
    """A database in which the recipe has been followed up to ``last``."""
    con = closed_database(threads=1)
    load_frames(con, recipe, as_arrow(recipe, frames))
    build_aligned(con, recipe, last)
    return con


GRID = Grid(validation_from=moment(150), test_from=moment(180), step_days=30, horizon_days=30)
TIME_SPLIT = TimeSplit(validation_from=moment(150), test_from=moment(180))
ENTITY_SPLIT = EntitySplit(validation_size=0.2, test_size=0.2, seed=0)


def lay_samples(con, recipe, frames):
    """Create the samples table: as the task says, with the static task's labels from ``frames``."""
    if recipe.task.horizon_days is not None:
        select = samples_select(
            recipe.task, recipe.entity, "select * from aligned.labels", TIME_SPLIT
        )
    else:
        vips = pa.table({name: frames["customers"][name] for name in ("id", "vip")})
        con.register("vips", vips)
        con.execute(
            "create or replace table aligned.customers as "
            "select own.*, vip from aligned.customers as own join vips using (id) order by _row"
        )
        select = static_samples_select(recipe.task, recipe.entity, ENTITY_SPLIT)
    con.execute(f"create or replace table aligned.samples as {select}")


def tiny_database(
    kind=TaskKind.BINARY,
    *,
    frames=None,
    recipe=None,
    static=False,
    scaling=NumericalScaling.STANDARD,
    readers=NO_READERS,
):
    """The tiny database with samples, indexes, fitted tokenizer and tensors."""
    frames = frames or tiny_frames()
    recipe = recipe or tiny_recipe(kind, static=static)
    con = aligned_database(recipe, frames, None if static else moment(DAYS))
    lay_samples(con, recipe, frames)
    found = con.sql("select label, split from aligned.samples order by sample").fetchall()
    label_B = np.array([row[0] for row in found], np.float64)
    split_B = np.array([row[1] for row in found])
    times = read_samples(con, "aligned.samples")
    indexes = index_paths(con, recipe, times)
    train_B = split_B == "train"
    tokenizer = fit_tokenizer(con, recipe, times, indexes, label_B, train_B, scaling, readers)
    tensors = task_tensors(con, recipe, tokenizer, times, indexes, label_B, readers)
    return Tiny(con, recipe, times, indexes, label_B, split_B, tokenizer, tensors)


def tiny_model(tiny, seed=0, cycles=2, also=(), **config):
    """A small NexusFormer for the tiny database, ready to predict; ``also`` are further tasks."""
    chosen = {"width": 8, "heads": 2, "dropout": 0.0} | config
    chosen.setdefault("refinement", RefinementConfig(cycles=cycles))
    torch.manual_seed(seed)
    recipe = tiny.recipe
    model = NexusFormer(NexusConfig(**chosen), tiny.tokenizer, recipe.paths, recipe.task, also)
    return model.eval()


def stirred(module, seed=1):
    """The module with noise on every weight, so that nothing is hidden behind a zero."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            shape, dtype = parameter.shape, parameter.dtype
            parameter.add_(0.3 * torch.randn(shape, generator=noise, dtype=dtype))
    return module
