"""Spark's index is DuckDB's, row for row; a project's index is the same whoever makes it.

``python -m tests.scale.test_spark_alignment 40`` compares as many random worlds.
"""

import datetime as dt
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from nexus_model.align.index import NEVER, SampleTimes, index_path
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan
from nexus_model.align.spark import index_paths_on_spark, write_links
from nexus_model.schema import DatabaseSpec, ForeignKey, TableSpec
from nexus_pipeline.steps.align import (
    align_table,
    index_task,
    lay_samples,
    read_task,
    relate_tables,
)
from nexus_pipeline.steps.spark_session import spark_session
from nexus_pipeline.storage import Store
from tests.scale.shop import shop_project

if importlib.util.find_spec("pyspark") is None or shutil.which("java") is None:
    pytest.skip("needs PySpark (pip install 'nexusflow[spark]') and Java", allow_module_level=True)


def table(name, *parents, time=None):
    """A table that names rows of others, and may have a time."""
    keys = (
        ForeignKey(columns=(f"{one}_id",), references_table=one, references_columns=("id",))
        for one in parents
    )
    return TableSpec(
        name=name, columns=(), primary_key=("id",), foreign_keys=tuple(keys), time_column=time
    )


WORLD = DatabaseSpec(
    tables=(
        table("shops"),
        table("customers", "shops", time="at"),
        table("orders", "customers", "shops", time="at"),
        table("items", "orders"),
    )
)
LONG = [["orders", "items"], ["orders", "shops", "customers"]]
PATHS = {
    "customers": find_paths(WORLD, "customers", 0, LONG),
    "items": find_paths(WORLD, "items", 0, [["orders", "customers", "orders"]])[1:],
}
SHORT = {"customers": find_paths(WORLD, "customers", 1)[1:]}
DAYS = 6
SIZES = {"shops": 5, "customers": 41, "orders": 151, "items": 127}
# What a Java that runs a minute has no time to earn back.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
FEW_ROWS = {
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JDK_JAVA_OPTIONS", QUICK)
        with spark_session("local[2]", tmp_path_factory.mktemp("spark")) as session:
            for key, value in FEW_ROWS.items():
                session.conf.set(key, value)
            yield session


def linked(random, sizes=SIZES):
    """Tables whose rows share few parents and fewer days; a tenth have no parent, or no time."""
    con = duckdb.connect(config={"threads": "1"})
    con.execute("create schema aligned")
    for table in WORLD.tables:
        rows = sizes[table.name]
        moment = pa.array(random.integers(0, DAYS, rows), mask=random.random(rows) < 0.1)
        dated = table.time_column is not None
        made = {"_row": np.arange(rows), "_moment": moment if dated else pa.nulls(rows, pa.int64())}
        for index, key in enumerate(table.foreign_keys):
            parents = sizes[key.references_table]
            parent = np.minimum(random.geometric(0.3, rows) - 1, max(0, parents - 1))
            nobody = (random.random(rows) < 0.1) | (parents == 0)
            made[f"_fk_{index}"] = pa.array(parent, mask=nobody)
        con.register("made", pa.table(made))
        con.execute(f"create table aligned.links_{table.name} as from made order by _row")
        con.execute(
            f"create table aligned.{table.name} as select _row, make_timestamp(_moment) as _time "
            f"from aligned.links_{table.name}"
        )
    return con


def asked(random, rows, share_knowing_everything):
    """Samples of any row, some twice; a share of them has no moment, the others are of a day."""
    count = 97 if rows else 0
    as_of_B = random.integers(-1, DAYS + 1, count)
    as_of_B[random.random(count) < share_knowing_everything] = NEVER
    return SampleTimes(random.integers(0, max(1, rows), count), as_of_B + 0, as_of_B)


def compare(spark, seed, share, paths, sizes=SIZES, most=3):
    """Rows seen by path; Spark's index and DuckDB's are equal."""
    random, seen = np.random.default_rng(seed), {}
    con = linked(random, sizes)
    with tempfile.TemporaryDirectory(prefix="an {odd} [place]") as folder:
        write_links(con, WORLD, Path(folder))
        for entity, ways in paths.items():
            samples = asked(random, sizes[entity], share)
            plans = [PathPlan(path=path, max_rows=most) for path in ways]
            found = index_paths_on_spark(spark, Path(folder), WORLD, plans, samples)
            for path, index in zip(ways, found, strict=True):
                truth = index_path(con, WORLD, path, samples, most)
                assert index.offsets_B.tolist() == truth.offsets_B.tolist(), path.name
                assert index.rows_N.tolist() == truth.rows_N.tolist(), path.name
                seen[path.name] = np.diff(truth.offsets_B)
    con.close()
    return seen


def test_every_kind_of_path_is_duckdbs_row_for_row(spark):
    seen = compare(spark, 1, 0.2, PATHS)
    assert len(seen) == 4
    for name, counts_B in seen.items():  # some are cut off, some see nothing
        assert (counts_B.min(), counts_B.max()) == (0, 1 if name == "customers" else 3), name


def test_samples_that_all_know_everything_see_rows_without_a_time(spark):
    assert compare(spark, 2, 1.0, SHORT)["orders"].max() == 3


def test_an_empty_table_is_no_obstacle(spark):
    assert not compare(spark, 3, 0.2, SHORT, SIZES | {"orders": 0})["orders"].any()


def test_a_projects_index_is_the_same_whoever_makes_it(spark, tmp_path):
    assert project_index(tmp_path / "a", "spark") == project_index(tmp_path / "b", "duckdb")
    assert not list((tmp_path / "a/data/aligned/shop").glob(".spark*"))


def project_index(root, engine):
    """The hash of the index of a shop's static task, and its facts."""
    project = shop_project(root, "left", engines={"alignment": engine})
    root.mkdir()
    store = Store(root / "shop.duckdb", threads=1)
    day = dt.datetime(2020, 1, 1)
    customers = {"id": [*range(20)], "left": [row % 2 for row in range(20)]}
    orders = {"id": [*range(70)], "customer_id": [row % 17 for row in range(70)], "at": [day] * 70}
    for name, columns in {"customers": customers, "orders": orders}.items():
        store.replace(f"validated.{name}", pa.table(columns))
        align_table(project, name, None, store)
    relate_tables(project, store)
    task = read_task(project, "left", store)
    lay_samples(project, task, store)
    stored = index_task(project, task, (), {}, store)
    return stored.sha256, stored.facts


if __name__ == "__main__":
    WORLDS = int(sys.argv[1])
    # Two executors in processes of their own, as on a cluster.
    with spark_session("local-cluster[2,1,1024]", Path(tempfile.mkdtemp())) as session:
        for key, value in FEW_ROWS.items():
            session.conf.set(key, value)
        for seed in range(WORLDS):
            most, share = 1 + seed % 5, (0.0, 0.3, 1.0)[seed % 3]
            sizes = {name: size * (seed % 7) // 3 for name, size in SIZES.items()}
            for paths in (PATHS, SHORT):
                compare(session, seed, share, paths, sizes, most)
    print(f"{WORLDS} worlds, 5 paths each, two executors: equal, row for row")
