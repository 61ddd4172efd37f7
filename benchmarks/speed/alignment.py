"""Point-in-time indexes of many samples over many child rows: time, memory, growth."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.speed.case import Case, Facts, Figure, Part, Size
from benchmarks.speed.measured import taken
from benchmarks.speed.tables import DAY_US, DAYS, START_US, Shape, write_entities, write_events

MAX_ROWS = 32  # as a project file has it where it says nothing
KEY_AND_TIME_BYTES = 16
MOST_S, MOST_BYTES, MOST_GROWTH = 60.0, 4.0, 2.4


class Asked(NamedTuple):
    """Child rows, samples, and DuckDB's memory limit."""

    rows: int
    samples: int
    limit_mb: int = 250


SIZES: dict[Size, Asked] = {
    "small": Asked(200_000, 20_000),
    "full": Asked(10_000_000, 1_000_000),
}
LARGE: dict[Size, Asked] = {
    "small": Asked(400_000, 20_000, 64),
    "full": Asked(40_000_000, 1_000_000, 200),
}
# From the first doubled again and again; a hundredth of the samples' number, so that rows count.
GROWTH: dict[Size, tuple[int, int]] = {"small": (50_000, 2), "full": (100_000, 7)}


def database(folder: Path, rows: int) -> Path:
    """An aligned database of entities and their events, numbered and linked by our own code."""
    import duckdb

    from nexus_model.align.relate import link_rows, number_rows

    file = folder / f"events_{rows}.duckdb"
    if file.exists():
        return file
    shape = Shape(max(10, rows // 100), rows)
    write_entities(folder / "entities.parquet", shape)
    write_events(folder / "events.parquet", shape)
    with duckdb.connect(str(file), config={"threads": "2"}) as con:
        for table in spec().tables:
            names = "entity_id" if table.name == "entities" else "event_id, entity_id, happened"
            source = f"select {names} from read_parquet('{folder / table.name}.parquet')"
            number_rows(con, source, table)
        for table in spec().tables:
            link_rows(con, table)
    (folder / "events.parquet").unlink()
    return file


def spec():  # type: ignore[no-untyped-def]  # noqa: ANN201 - our classes are imported late
    """Entities, and events that reference them."""
    from nexus_model.schema import DatabaseSpec, ForeignKey, TableSpec

    entities = TableSpec(name="entities", columns=(), primary_key=("entity_id",))
    key = ForeignKey(
        columns=("entity_id",), references_table="entities", references_columns=("entity_id",)
    )
    events = TableSpec(
        name="events",
        columns=(),
        primary_key=("event_id",),
        foreign_keys=(key,),
        time_column="happened",
    )
    return DatabaseSpec(tables=(entities, events))


def indexed(file: Path, folder: Path, asked: Asked) -> Facts:
    """What indexing took, and how much it had to hold."""
    import duckdb

    from nexus_model.align.index import SampleTimes, index_path
    from nexus_model.align.paths import find_paths

    world = spec()
    _, path = find_paths(world, "entities", 1)
    random = np.random.default_rng(5)
    entities = max(10, asked.rows // 100)
    as_of_B = START_US + random.integers(1, DAYS, asked.samples) * DAY_US
    times = SampleTimes(random.integers(0, entities, asked.samples), as_of_B, as_of_B)
    limits = {"threads": "2", "memory_limit": f"{asked.limit_mb}MB"}
    limits["temp_directory"] = str(folder / "spilled")
    with duckdb.connect(str(file), read_only=True, config=limits) as con:
        index, spent = taken(lambda: index_path(con, world, path, times, MAX_ROWS))
    return {
        **asked._asdict(),
        **spent.facts,
        "key_and_time_mb": asked.rows * KEY_AND_TIME_BYTES / 1e6,
        "samples_and_result_mb": sum(array.nbytes for array in (*times, *index)) / 1e6,
        "rows_seen": len(index.rows_N),
    }


def generated(folder: Path, size: Size) -> Facts:
    """The three databases, in a process of its own so that the others start small."""
    database(folder, SIZES[size].rows)
    database(folder, LARGE[size].rows)
    for rows in grown(size):
        database(folder, rows)
    return {"databases_mb": sum(file.stat().st_size for file in folder.glob("*.duckdb")) / 1e6}


def grown(size: Size) -> list[int]:
    """Numbers of rows, each twice the one before."""
    first, doublings = GROWTH[size]
    return [first << power for power in range(doublings + 1)]


def whole(folder: Path, size: Size) -> Facts:
    """Samples and rows as the bar has them."""
    asked = SIZES[size]
    return indexed(database(folder, asked.rows), folder, asked)


def beyond_memory(folder: Path, size: Size) -> Facts:
    """Key and time columns several times what DuckDB may hold."""
    asked = LARGE[size]
    return indexed(database(folder, asked.rows), folder, asked)


def growth(folder: Path, size: Size) -> Facts:
    """The least of three times at each number of rows."""
    samples = SIZES[size].samples // 10
    found: dict[str, list[float]] = {"wall_s": [], "cpu_s": []}
    for rows in grown(size):
        file = database(folder, rows)
        runs = [indexed(file, folder, Asked(rows, samples, 1000)) for _ in range(3)]
        for name, least in found.items():
            least.append(min(run[name] for run in runs))
    return {"rows": grown(size), "samples": samples, **found}


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """Seconds, bytes, growth, and the limit where memory is short.

    Samples and result are held whatever the limit; until the last part is read, the result's rows
    are held a second time, in four bytes instead of eight.
    """
    one, large, times = parts["whole"], parts["beyond_memory"], parts["growth"][by]
    held = large["peak_mb"] - large["before_mb"] - 1.5 * large["samples_and_result_mb"]
    steepest = max(later / earlier for earlier, later in pairwise(times))
    return [
        Figure("seconds of wall time", one["wall_s"], 1.0, "s", "at_most", MOST_S),
        Figure(
            "peak of the process over its key and time columns",
            one["peak_mb"], one["key_and_time_mb"], "MB", "at_most", MOST_BYTES,
        ),
        Figure(f"steepest doubling of rows ({by})", steepest, 1.0, "", "at_most", MOST_GROWTH),
        Figure(
            "beyond memory: held over the limit, samples and result aside",
            held, large["limit_mb"], "MB", "at_most", 1.0,
        ),
    ]  # fmt: skip


PARTS: dict[str, Part] = {
    "generated": generated,
    "whole": whole,
    "beyond_memory": beyond_memory,
    "growth": growth,
}
CASE = Case(
    question="which of 10 million rows may each of a million samples see",
    peer="the bars themselves",
    packages=("duckdb", "numpy", "pyarrow"),
    parts=PARTS,
    judged=judged,
)
