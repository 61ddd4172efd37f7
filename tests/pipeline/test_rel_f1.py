"""The benchmark rel-f1 rebuilt: its rows, its samples, and what predictors without a model score.

Runs where the raw tables are: the folder NEXUS_REL_F1 names, or ``shared/data/rel_f1/raw`` beside
the repository.
"""

import datetime as dt
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from nexus_model.align.relate import number_rows
from nexus_model.evaluate.metrics import auroc, mae
from nexus_pipeline.defs.aligned import SqlProject, load_sql
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.sql.check import run_check
from nexus_pipeline.sql.run import run_model
from nexus_pipeline.steps.align import lay_cutoffs, lay_samples, read_task, relate_tables
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.plan import keyed_table
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.steps.validate import validate_table
from nexus_pipeline.storage import Store, replace_table

REPOSITORY = Path(__file__).resolve().parents[2]
RAW = Path(
    os.environ.get("NEXUS_REL_F1") or REPOSITORY.parent.joinpath("shared/data/rel_f1/raw")
).resolve()
pytestmark = pytest.mark.skipif(
    not (RAW / "results.csv").is_file(),
    reason="the raw tables of rel-f1 are not here; NEXUS_REL_F1 may name their folder",
)

TEST_FROM = dt.datetime(2010, 1, 1)
ROWS = {
    "races": 820, "circuits": 77, "drivers": 857, "results": 20_323, "driver_standings": 28_115,
    "constructors": 211, "constructor_results": 9_408, "constructor_standings": 10_170,
    "qualifying": 4_082,
}  # fmt: skip
SPLITS = ("train", "validation", "test")
TASKS = ("position", "dnf", "top3")


class Rebuilt(NamedTuple):
    """The benchmark up to its samples."""

    project: ProjectConfig
    sql: SqlProject
    store: Store

    def samples(self, task: str, *splits: str) -> pl.DataFrame:
        """The benchmark's samples of a task, of all splits if none is named.

        The project may train on further cutoffs in between; those are not among them.
        """
        table = self.table(f"samples_{task}")
        cutoffs = self.table(f"cutoffs_{task.removesuffix('_frozen')}").filter(is_regular=True)
        of_benchmark = pl.col("cutoff").is_in(cutoffs["cutoff"].to_list())
        return table.filter(of_benchmark, pl.col("split").is_in(splits or SPLITS))

    def table(self, name: str) -> pl.DataFrame:
        with self.store.read() as con:
            return con.sql(f"select * from aligned.{name}").pl()


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rebuilt]:
    """From the raw tables to samples, by the steps the pipeline is made of."""
    root = tmp_path_factory.mktemp("rel_f1")
    example = REPOSITORY / "examples/rel_f1"
    shutil.copy(example / "nexusflow.yaml", root)
    shutil.copytree(example / "dbt_like_sql", root / "dbt_like_sql")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXUS_RAW", str(RAW))
        project = load_project(root / "nexusflow.yaml")
        store = Store(root / "store.duckdb", threads=1)
        for dataset in project.datasets:
            read_raw(project, dataset.table, store)
        for dataset in project.datasets:
            contract = derive_contract(project, dataset.table, store)
            assert validate_table(project, contract, store).quarantined == 0
        sql = load_sql(project)
        align(project, sql, store)
        ask(project, sql, store)
        yield Rebuilt(project, sql, store)


def align(project: ProjectConfig, sql: SqlProject, store: Store) -> None:
    """Every SQL model but the labels."""
    labels = {task.sql for task in project.tasks}
    tables = {dataset.table for dataset in project.datasets}
    with store.write() as con:
        for name, model in sql.models.items():
            if name in tables:
                number_rows(con, model.sql, keyed_table(project, name))
            elif name not in labels:
                replace_table(con, model.table, model.sql)


def ask(project: ProjectConfig, sql: SqlProject, store: Store) -> None:
    """Cutoffs, labels and samples."""
    relate_tables(project, store)
    for task in project.tasks:
        lay_cutoffs(project, task.name, store)
        run_model(store, sql.models[task.sql])
    for name in project.task_names:
        lay_samples(project, read_task(project, name, store), store)


def test_every_table_has_the_benchmarks_rows_up_to_the_test(rebuilt: Rebuilt) -> None:
    found = {}
    for name in ROWS:
        table = rebuilt.table(name)
        known = table["known_at"] <= TEST_FROM if "known_at" in table.columns else None
        found[name] = len(table if known is None else table.filter(known))
    assert found == ROWS
    assert sum(found.values()) == 74_063


def test_a_shared_car_keeps_its_rows(rebuilt: Rebuilt) -> None:
    results = rebuilt.table("results")
    assert len(results) - results.n_unique(["raceId", "driverId"]) == 91


@pytest.mark.parametrize(
    ("task", "rows", "moments", "last"),
    [
        ("position", (7_453, 499, 760), (254, 23, 33), dt.datetime(2016, 5, 29)),
        ("dnf", (11_411, 566, 702), (420, 26, 29), dt.datetime(2013, 3, 16)),
        ("top3", (1_353, 588, 726), (59, 27, 30), dt.datetime(2013, 3, 16)),
    ],
)
def test_a_task_asks_what_the_benchmark_asks(
    rebuilt: Rebuilt,
    task: str,
    rows: tuple[int, ...],
    moments: tuple[int, ...],
    last: dt.datetime,
) -> None:
    parts = [rebuilt.samples(task, split) for split in SPLITS]
    assert tuple(len(part) for part in parts) == rows
    assert tuple(part["cutoff"].n_unique() for part in parts) == moments
    assert parts[2]["cutoff"].min() == dt.datetime(2010, 3, 2)
    assert parts[2]["cutoff"].max() == last


@pytest.mark.parametrize(
    ("task", "means", "new_drivers"),
    [
        ("position", (13.90, 11.08, 11.93), 0.43),
        ("dnf", (0.880, 0.779, 0.705), 0.39),
        ("top3", (0.171, 0.202, 0.176), 0.39),
    ],
)
def test_answers_are_distributed_as_the_benchmarks(
    rebuilt: Rebuilt, task: str, means: tuple[float, ...], new_drivers: float
) -> None:
    found = [rebuilt.samples(task, split)["label"].mean() for split in SPLITS]
    assert found == pytest.approx(means, abs=0.005 if task == "position" else 0.0005)
    known, test = rebuilt.samples(task, "train", "validation"), rebuilt.samples(task, "test")
    unseen = ~test["driverId"].is_in(known["driverId"].unique().to_list())
    assert unseen.mean() == pytest.approx(new_drivers, abs=0.005)


def digits(value: float) -> object:
    """Equal to ten digits."""
    return pytest.approx(value, rel=1e-10, abs=0)


def test_constants_score_what_the_benchmark_publishes(rebuilt: Rebuilt) -> None:
    train, test = rebuilt.samples("position", "train"), rebuilt.samples("position", "test")
    known = rebuilt.samples("position", "train", "validation")["label"]
    spread = train["label"].std()
    assert spread == pytest.approx(7.025734, abs=5e-7)
    constants = {
        known.mean(): 0.6423358173653105,
        known.median(): 0.6261411175411443,
        0.0: 1.6975032510530375,
    }
    for constant, published in constants.items():
        errors = mae([constant] * len(test), test["label"].to_numpy())
        assert errors / spread == digits(published)


def of_own_past(rebuilt: Rebuilt, task: str, known: tuple[str, ...], split: str) -> pl.DataFrame:
    """Samples with the mean answer of the same driver before, 0 if there is none."""
    before = rebuilt.samples(task, *known).group_by("driverId").agg(guess=pl.col("label").mean())
    asked = rebuilt.samples(task, split).join(before, on="driverId", how="left")
    return asked.with_columns(pl.col("guess").fill_null(0.0))


def test_drivers_past_means_score_what_the_benchmark_publishes(rebuilt: Rebuilt) -> None:
    both = ("train", "validation")
    for known, split, published in (
        (both, "test", 8.501357509542604),
        (("train",), "validation", 7.181002030072052),
    ):
        found = of_own_past(rebuilt, "position", known, split)
        assert mae(found["guess"].to_numpy(), found["label"].to_numpy()) == digits(published)
    for task, published in (("dnf", 0.4466549553506075), ("top3", 0.7037063649665551)):
        found = of_own_past(rebuilt, task, both, "test")
        assert auroc(found["guess"].to_numpy(), found["label"].to_numpy()) == digits(published)


@pytest.mark.parametrize("task", TASKS)
def test_a_frozen_task_asks_the_same_with_older_data(rebuilt: Rebuilt, task: str) -> None:
    asked = ["driverId", "cutoff", "label"]
    for split, start in (("validation", dt.datetime(2005, 1, 1)), ("test", TEST_FROM)):
        fresh, frozen = rebuilt.samples(task, split), rebuilt.samples(f"{task}_frozen", split)
        assert fresh.select(asked).equals(frozen.select(asked))
        assert (fresh["as_of"] == fresh["cutoff"]).all()
        assert (frozen["as_of"] == start).all()


def test_the_projects_own_checks_pass(rebuilt: Rebuilt) -> None:
    results = [run_check(rebuilt.store, check) for check in rebuilt.sql.checks.values()]
    assert len(results) == 4
    assert [result for result in results if not result.passed] == []


@pytest.fixture
def past(rebuilt: Rebuilt, tmp_path: Path) -> Rebuilt:
    """The same tables, made when no race from May 1994 on was run."""
    store = Store(tmp_path / "past.duckdb", threads=1)
    early = "select raceId from validated.races where date < date '1994-05-01'"
    with rebuilt.store.read() as con:
        for dataset in rebuilt.project.datasets:
            rows = con.sql(f"select * from validated.{dataset.table}")
            timed = dataset.time_column is not None
            cut = rows.filter(f"raceId in ({early})") if timed else rows
            store.replace(f"validated.{dataset.table}", cut.pl())
    align(rebuilt.project, rebuilt.sql, store)
    return rebuilt._replace(store=store)


def test_what_a_row_says_does_not_change_when_the_future_is_cut_off(
    rebuilt: Rebuilt, past: Rebuilt
) -> None:
    timed = [dataset for dataset in rebuilt.project.datasets if dataset.time_column]
    assert len(timed) == 6
    for dataset in timed:
        then, now = (
            made.table(dataset.table)
            .filter(pl.col("known_at") < dt.datetime(1994, 4, 30))
            .drop("_row")
            .sort(dataset.primary_key)
            for made in (past, rebuilt)
        )
        assert len(then) > 0
        assert then.equals(now), dataset.table
