"""A path's index made by Spark: the steps of ``plan.py`` over Parquet, row for row as DuckDB's.

Everything is a whole number: a row's number, the numbers of the rows it names, and its time in
microseconds, so nothing depends on how an engine reads text, dates or time zones. Requests and the
rows they may follow are sorted together by parent and time; counting gives each request the range
of ranks it sees, and only those are joined. So a step costs a sort of both and ``most`` rows per
request, however many rows a parent has. Executors need no Python.

The driver never holds rows of a table: samples (24 bytes each) and the finished index (8 bytes per
sample and per row seen), which it reads as Spark wrote it, a batch at a time.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, assert_never

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nexus_model.align.index import NEVER, READ_ROWS, PathIndex, SampleTimes
from nexus_model.align.plan import Down, Known, Newest, Step, Up, plan_path
from nexus_model.align.recipe import PathPlan
from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array = np.ndarray

SAMPLES = "samples.parquet"


def write_links(con: Connection, database: DatabaseSpec, folder: Path) -> None:
    """Rows, times and links of every table as ``links_<table>.parquet``: what Spark reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in database.tables:
        keys = [
            f"cast(_fk_{index} as bigint) as _fk_{index}"
            for index in range(len(table.foreign_keys))
        ]
        columns = ", ".join(["_row", "cast(_moment as bigint) as _moment", *keys])
        file = str(folder / f"links_{table.name}.parquet").replace("'", "''")
        links = f"aligned.{quoted('links_' + table.name)}"
        con.execute(f"copy (select {columns} from {links}) to '{file}' (format parquet)")


def index_paths_on_spark(
    spark: "SparkSession",
    folder: Path,
    database: DatabaseSpec,
    plans: Sequence[PathPlan],
    samples: SampleTimes,
) -> tuple[PathIndex, ...]:
    """What ``index_path`` gives for every plan, from the tables ``write_links`` wrote.

    ``folder`` is one that executors see too; samples and finished indexes pass through it.
    """
    asked = {"sample": np.arange(len(samples.entity_B)), "as_of": samples.as_of_B}
    pq.write_table(pa.table({**asked, "row": samples.entity_B}), folder / SAMPLES)
    asks_in_time = not (samples.as_of_B == NEVER).all()
    return tuple(
        _index(
            spark,
            folder,
            database,
            plan_path(database, plan.path, plan.max_rows, asks_in_time=asks_in_time),
            len(samples.entity_B),
        )
        for plan in plans
    )


def _index(
    spark: "SparkSession",
    folder: Path,
    database: DatabaseSpec,
    steps: tuple[Step, ...],
    count: int,
) -> PathIndex:
    from pyspark.sql import functions as f

    never = f.lit(None).cast("long")
    asked = _whole_numbers(spark, folder / SAMPLES, ["sample", "as_of", "row"])
    found, walk = asked.withColumn("moment", never), _Walk(spark, folder, database)
    for step in steps:
        found = walk.taken(step, found)
    written = folder / "index.parquet"
    ordered = found.orderBy("sample", f.asc_nulls_first("moment"), "row")
    ordered.select("sample", "row").write.mode("overwrite").parquet(f"file:{written}")
    walk.end()
    index = _read_index(written, count)
    shutil.rmtree(written)
    return index


def _whole_numbers(spark: "SparkSession", file: Path, columns: Sequence[str]) -> "DataFrame":
    schema = ", ".join(f"{name} long" for name in columns)
    return spark.read.schema(schema).parquet(_told(file))


def _told(file: Path) -> str:
    """A path as Spark reads it: its own file system, none of its characters a pattern."""
    return "file:" + re.sub(r"([][{}*?\\])", r"\\\1", str(file))


class _Walk:
    """Steps taken one after another; what they kept on executors' disks is given back at the end.

    Requests are frames of sample, as_of, row, and the row's moment where the last step went down.
    """

    def __init__(self, spark: "SparkSession", folder: Path, database: DatabaseSpec) -> None:
        self._spark, self._folder, self._database = spark, folder, database
        self._kept: list[DataFrame] = []

    def taken(self, step: Step, found: "DataFrame") -> "DataFrame":
        """What a step makes of requests."""
        match step:
            case Known():
                return _known(self._links(step.table), found)
            case Down():
                ranked = _ranked(self._links(step.table), step, found)
                self._kept.append(ranked)
                return _seen(ranked, step.most)
            case Up():
                reached = _reached(self._links(step.table), step.key, found)
                return _known(self._links(step.reaches), reached) if step.only_known else reached
            case Newest():
                return _newest(step, found)
            case other:
                assert_never(other)

    def end(self) -> None:
        """Give back what was kept."""
        for frame in self._kept:
            frame.unpersist()

    def _links(self, table: str) -> "DataFrame":
        keys = [f"_fk_{index}" for index in range(len(self._database[table].foreign_keys))]
        file = self._folder / f"links_{table}.parquet"
        return _whole_numbers(self._spark, file, ["_row", "_moment", *keys])


def _known(links: "DataFrame", found: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    times = links.select(f.col("_row").alias("row"), f.col("_moment").alias("moment"))
    joined = found.drop("moment").join(times, "row")
    return joined.where(f.coalesce("moment", f.lit(NEVER)) <= f.col("as_of"))


def _reached(links: "DataFrame", key: int, found: "DataFrame") -> "DataFrame":
    from pyspark.sql import functions as f

    parent = f.col(f"_fk_{key}")
    named = links.where(parent.isNotNull()).select(f.col("_row").alias("row"), parent.alias("to"))
    reached = found.join(named, "row").select("sample", "as_of", f.col("to").alias("row"))
    never = f.lit(None).cast("long")
    return reached.dropDuplicates(["sample", "row"]).withColumn("moment", never)


def _ranked(links: "DataFrame", step: Down, found: "DataFrame") -> "DataFrame":
    """Rows of each parent by time and those asking for them, with how many rows stand so far."""
    from pyspark import StorageLevel
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    parent, none = f.col(f"_fk_{step.key}"), f.lit(None).cast("long")
    rows = links.where(parent.isNotNull())
    if step.only_dated:
        rows = rows.where(f.col("_moment").isNotNull())
    rows = rows.select(
        parent.alias("parent"), f.col("_moment").alias("moment"), f.lit(0).alias("asks"),
        f.col("_row").alias("row"), none.alias("sample"), none.alias("as_of"),
    )  # fmt: skip
    asking = found.select(
        f.col("row").alias("parent"), f.col("as_of").alias("moment"), f.lit(1).alias("asks"),
        none.alias("row"), "sample", "as_of",
    )  # fmt: skip
    # Whoever asks stands behind the rows of the same moment, or behind all where any is seen.
    moment, asks, row = f.asc_nulls_first("moment"), f.asc("asks"), f.asc("row")
    in_order = (moment, asks, row) if step.only_dated else (asks, moment, row)
    of_parent = Window.partitionBy("parent").orderBy(*in_order)
    so_far = of_parent.rowsBetween(Window.unboundedPreceding, Window.currentRow)
    rank = f.sum(1 - f.col("asks")).over(so_far)
    return rows.unionByName(asking).withColumn("rank", rank).persist(StorageLevel.DISK_ONLY)


def _seen(ranked: "DataFrame", most: int) -> "DataFrame":
    """The rows of the last ``most`` ranks up to that of each request."""
    from pyspark.sql import functions as f

    first = f.greatest(f.col("rank") - (most - 1), f.lit(1))
    wanted = ranked.where((f.col("asks") == 1) & (f.col("rank") > 0)).select(
        "sample", "as_of", "parent", f.explode(f.sequence(first, f.col("rank"))).alias("rank")
    )
    rows = ranked.where(f.col("asks") == 0).select("parent", "rank", "row", "moment")
    return wanted.join(rows, ["parent", "rank"]).select("sample", "as_of", "row", "moment")


def _newest(step: Newest, found: "DataFrame") -> "DataFrame":
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    newest_first = [f.desc_nulls_last("moment"), f.desc("row")]
    place = f.row_number().over(Window.partitionBy("sample").orderBy(*newest_first))
    once = found.dropDuplicates(["sample", "row"])
    return once.withColumn("place", place).where(f.col("place") <= step.most)


def _read_index(written: Path, count: int) -> PathIndex:
    """Parts in the order of their names, which is that of the samples."""
    parts = [pq.ParquetFile(part) for part in sorted(written.glob("part-*.parquet"))]
    rows_N = np.empty(sum(part.metadata.num_rows for part in parts), np.int64)
    counts_B, filled, last = np.zeros(count, np.int64), 0, 0
    for part in parts:
        for batch in part.iter_batches(READ_ROWS):
            sample_N = batch.column("sample").to_numpy()
            assert sample_N[0] >= last, "Spark's parts are not in the order of the samples"
            last = sample_N[-1]
            found = np.bincount(sample_N - sample_N[0])
            counts_B[sample_N[0] : sample_N[0] + len(found)] += found
            rows_N[filled : filled + len(batch)] = batch.column("row").to_numpy()
            filled += len(batch)
        part.close()
    return PathIndex(np.concatenate([[0], np.cumsum(counts_B)]), rows_N)
