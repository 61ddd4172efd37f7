"""What is compared with what: rows of a span, and the metric of predictions whose labels came."""

import datetime as dt
import json

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.align.relate import link_rows, number_rows
from nexus_model.align.samples import Grid
from nexus_model.evaluate.metrics import auroc
from nexus_model.schema import (
    ColumnSpec,
    DatabaseSpec,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_pipeline.monitor.live import live_metrics
from nexus_pipeline.monitor.windows import Span, read_rows
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.predict_batch import prediction_folder
from nexus_pipeline.storage import Store

START = dt.datetime(2020, 1, 1)
SPAN = Span(dt.datetime(2020, 1, 11), dt.datetime(2020, 1, 21))
CUTOFF = dt.datetime(2020, 1, 10)


def day(number: int) -> dt.datetime:
    return START + dt.timedelta(days=number)


PEOPLE = pa.table(
    {"id": list(range(8)), "born": [day(-365)] * 8, "name": [f"n{at}" for at in range(8)]}
)
ORDERS = pa.table(
    {
        "id": list(range(30)),
        "person": [at % 4 if at < 10 else 5 for at in range(30)],
        "at": [day(at) for at in range(30)],
        "note": ["x" * at for at in range(30)],
        "kind": [None if at == 15 else "a" for at in range(30)],
    }
)


def specs() -> DatabaseSpec:
    people = TableSpec(
        name="people",
        primary_key=("id",),
        columns=(
            ColumnSpec(name="born", semantic=SemanticType.TIMESTAMP),
            ColumnSpec(name="name", semantic=SemanticType.CATEGORICAL),
        ),
    )
    key = ForeignKey(columns=("person",), references_table="people", references_columns=("id",))
    orders = TableSpec(
        name="orders",
        primary_key=("id",),
        time_column="at",
        foreign_keys=(key,),
        columns=(
            ColumnSpec(name="note", semantic=SemanticType.TEXT),
            ColumnSpec(name="kind", semantic=SemanticType.CATEGORICAL),
        ),
    )
    return DatabaseSpec(tables=(people, orders))


def recipe() -> Recipe:
    database = specs()
    plans = tuple(PathPlan(path=path, max_rows=9) for path in find_paths(database, "people", 2))
    task = TaskSpec(name="again", kind=TaskKind.BINARY, entity_table="people", horizon_days=5)
    grid = Grid(validation_from=START, test_from=day(1), step_days=5, horizon_days=5)
    return Recipe(raw=(), database=database, task=task, plans=plans, grid=grid, labels="labels")


def fill(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create schema if not exists aligned")
    for name, table in (("people", PEOPLE), ("orders", ORDERS)):
        con.register("given", table)
        con.execute(f"create or replace table raw_{name} as select * from given")
        number_rows(con, f"select * from raw_{name}", specs()[name])
    for spec in specs().tables:
        link_rows(con, spec)


@pytest.fixture
def con():
    """The two tables, aligned."""
    with duckdb.connect() as found:
        fill(found)
        yield found


def test_rows_of_a_span_are_dated_within_it(con):
    found = read_rows(con, recipe(), SPAN, 1_000)["orders"]
    assert found.rows == 10
    assert found.daily == (1,) * 10
    assert sorted(found.arrays()["note"].tolist()) == [float(at) for at in range(10, 20)]


def test_rows_without_time_are_those_that_rows_of_the_span_refer_to(con):
    assert read_rows(con, recipe(), SPAN, 1_000)["people"].sample["name"].to_pylist() == ["n5"]
    early = read_rows(con, recipe(), Span(START, day(10)), 1_000)["people"]
    assert sorted(early.sample["name"].to_pylist()) == ["n0", "n1", "n2", "n3"]
    assert read_rows(con, recipe(), None, 1_000)["people"].rows == 8


def test_moments_are_days_before_the_end_so_that_time_itself_is_no_drift(con):
    [age] = read_rows(con, recipe(), SPAN, 1_000)["people"].arrays()["born"]
    assert age == pytest.approx(365 + 20)


def test_days_before_the_first_row_of_a_table_are_not_days_without_rows(con):
    found = read_rows(con, recipe(), Span(day(-90), day(10)), 1_000)["orders"]
    assert found.daily == (1,) * 10


def test_a_draw_of_rows_is_the_same_again_and_bounded(con):
    once, again = (read_rows(con, recipe(), None, 7)["orders"].sample for _ in range(2))
    assert once.equals(again)
    assert once.num_rows == 7


def test_a_column_that_is_gone_is_left_out(con):
    con.execute("alter table aligned.orders drop column kind")
    assert list(read_rows(con, recipe(), SPAN, 1_000)["orders"].arrays()) == ["note"]


@pytest.fixture
def predicted(tmp_path):
    """A project whose predictions of a cutoff are there, and the labels of two."""
    task = {"name": "again", "entity_table": "people", "kind": "binary", "horizon_days": 5,
            "sql": "labels"}  # fmt: skip
    project = ProjectConfig(
        project_name="shop",
        datasets=({"name": "people", "primary_key": "id"},),
        tasks=(task,),
        split={"validation_from": "2020-01-01", "test_from": "2020-01-02"},
        root=tmp_path,
    )
    store = Store(tmp_path / "store.duckdb")
    label = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    with store.write() as con:
        fill(con)
        rows = pa.table({"id": [*range(8)] * 2, "cutoff": [CUTOFF] * 8 + [day(20)] * 8,
                         "label": [*label.tolist()] * 2})  # fmt: skip
        con.register("rows", rows)
        con.execute("create or replace table aligned.labels as select * from rows")
    folder = prediction_folder(project, "again", "2020-01-10")
    folder.mkdir(parents=True)
    said = np.linspace(0.1, 0.9, 8)
    pl.DataFrame({"id": range(8), "prediction": said}).write_parquet(folder / "predictions.parquet")
    (folder / "about.json").write_text(json.dumps({"champion": "4"}))
    return project, store, auroc(said, label)


def test_predictions_are_measured_once_their_window_has_closed(predicted):
    project, store, expected = predicted
    assert live_metrics(project, recipe(), store, "2020-01-14", frozenset()) == ()
    [found] = live_metrics(project, recipe(), store, "2020-01-15", frozenset())
    assert (found.day, found.champion, found.found.rows) == ("2020-01-10", "4", 8)
    assert found.found.estimate == pytest.approx(expected)
    assert found.found.low <= expected <= found.found.high


def test_a_day_nobody_predicted_has_no_live_metric(predicted):
    project, store, _ = predicted
    found = live_metrics(project, recipe(), store, "2020-03-01", frozenset())
    assert [one.day for one in found] == ["2020-01-10"]
