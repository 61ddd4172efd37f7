"""Point-in-time CSR indexes: for each sample, which rows of a path's table it may see.

B samples, R rows of a table, N visible rows of all samples one after another. A child table sorted
by (parent, time, row) makes the rows one sample may see a contiguous slice: a binary search finds
its end and ``end - K`` its start (``children.py``), so no wide table is ever built.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias, assert_never

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.children import Seen, expand, newest_children
from nexus_model.align.paths import RelationPath
from nexus_model.align.plan import Down, Known, Newest, Step, Up, plan_path
from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array = np.ndarray

DAY_US = 86_400_000_000
READ_ROWS = 1 << 18
NEVER = np.iinfo(np.int64).max  # the cutoff of a sample that sees everything, microseconds


class Requests(NamedTuple):
    """Rows of one table, asked about by samples: ``sample_N`` ascending, ``row_N``."""

    sample_N: Array
    row_N: Array


class PathIndex(NamedTuple):
    """Rows each sample sees: sample ``b`` sees ``rows_N[offsets_B[b]:offsets_B[b + 1]]``.

    Newest last. ``offsets_B`` has B + 1 entries.
    """

    offsets_B: Array
    rows_N: Array


class SampleTimes(NamedTuple):
    """Entity row, cutoff and the moment its data is of, by sample.

    Moments are microseconds since 1970, ``NEVER`` if there is none; ``as_of_B`` is never later than
    ``cutoff_B``, and no row later than it is read.
    """

    entity_B: Array
    cutoff_B: Array
    as_of_B: Array


def read_samples(con: Connection, samples: str) -> SampleTimes:
    """Entity rows and cutoffs of a samples table, in sample order."""
    found = con.sql(
        f"select entity_row, coalesce(epoch_us(cutoff), {NEVER}) as cutoff, "
        f"coalesce(epoch_us(as_of), {NEVER}) as as_of from {samples} order by sample"
    ).to_arrow_table()
    names = ("entity_row", "cutoff", "as_of")
    return SampleTimes(*(found[name].to_numpy().astype(np.int64) for name in names))


def index_path(
    con: Connection,
    database: DatabaseSpec,
    path: RelationPath,
    samples: SampleTimes,
    max_rows: int,
) -> PathIndex:
    """The CSR index of one path: the newest ``max_rows`` visible rows of each sample.

    A hop down follows the newest ``max_rows`` rows of each row it starts from. The entity's own row
    is a row like any other: it is not seen before its time.
    """
    count, as_of_B = len(samples.entity_B), samples.as_of_B
    requests = Requests(np.arange(count), samples.entity_B)
    steps = plan_path(database, path, max_rows, asks_in_time=not (as_of_B == NEVER).all())
    if len(steps) == 1 and isinstance(steps[0], Down):
        seen = _seen(con, steps[0], requests, as_of_B)
        return PathIndex(np.concatenate([[0], np.cumsum(seen.counts_Q)]), seen.rows_N)
    for step in steps:
        requests = _taken(con, database, step, requests, as_of_B)
    return _as_index(requests, count, max_rows)


def _taken(
    con: Connection, database: DatabaseSpec, step: Step, requests: Requests, as_of_B: Array
) -> Requests:
    """What a step makes of requests."""
    match step:
        case Known():
            return _known(con, step.table, requests, as_of_B)
        case Down():
            seen = _seen(con, step, requests, as_of_B)
            return Requests(np.repeat(requests.sample_N, seen.counts_Q), seen.rows_N)
        case Up():
            return _up(con, step, requests, as_of_B)
        case Newest():
            timed = database[step.table].time_column is not None
            return _ordered(requests, times_of(con, step.table, requests.row_N) if timed else None)
        case other:
            assert_never(other)


def _seen(con: Connection, down: Down, requests: Requests, as_of_B: Array) -> Seen:
    as_of_N = as_of_B[requests.sample_N] if down.only_dated else None
    return newest_children(con, down, requests.row_N, as_of_N)


def _up(con: Connection, up: Up, requests: Requests, as_of_B: Array) -> Requests:
    links = quoted("links_" + up.table)
    row_N = column_of(con, links, f"_fk_{up.key}", requests.row_N)
    linked_N = row_N >= 0
    found = Requests(requests.sample_N[linked_N], row_N[linked_N])
    if up.only_known:
        found = _known(con, up.reaches, found, as_of_B)
    order_N = np.lexsort((found.row_N, found.sample_N))
    return _without_repeats(Requests(*(values[order_N] for values in found)))


def _without_repeats(requests: Requests) -> Requests:
    """Each pair of sample and row once; equal pairs stand beside each other."""
    sample_N, row_N = requests
    is_new_N = np.ones(len(sample_N), bool)
    is_new_N[1:] = (sample_N[1:] != sample_N[:-1]) | (row_N[1:] != row_N[:-1])
    return Requests(sample_N[is_new_N], row_N[is_new_N])


def _known(con: Connection, table: str, requests: Requests, as_of_B: Array) -> Requests:
    keep_N = times_of(con, table, requests.row_N) <= as_of_B[requests.sample_N]
    return Requests(requests.sample_N[keep_N], requests.row_N[keep_N])


def column_of(con: Connection, table: str, column: str, row_N: Array | None = None) -> Array:
    """An integer column of an aligned table in row order, or of the rows asked about.

    NULL is -1; ``table`` is quoted.
    """
    return _values(con, table, f"coalesce({column}, -1)", row_N)


def times_of(con: Connection, table: str, row_N: Array | None = None) -> Array:
    """Times of a table's rows, or of those asked about, microseconds since 1970.

    A row without a time is never.
    """
    return _values(con, quoted(table), f"coalesce(epoch_us(_time), {NEVER})", row_N)


def _values(con: Connection, table: str, value: str, row_N: Array | None) -> Array:
    """int64 of every row or of ``row_N``; of few rows no more is kept than they have."""
    rows = con.sql(f"select count(*) from aligned.{table}").fetchall()[0][0]
    query = f"select _row, cast({value} as bigint) as v from aligned.{table}"
    if row_N is None or len(row_N) >= rows:
        value_R = _placed(con, query, np.empty(rows, np.int64), None)
        return value_R if row_N is None else value_R[row_N]
    asked_R, place_N = np.unique(row_N, return_inverse=True)
    with only_rows(con, asked_R) as chosen:
        values = np.empty(len(asked_R), np.int64)
        return _placed(con, f"{query} {chosen}", values, asked_R)[place_N]


@contextmanager
def only_rows(con: Connection, row_R: Array) -> Iterator[str]:
    """The end of a SELECT from an aligned table that keeps these rows, for as long as the block."""
    con.register("chosen_rows", pa.table({"_row": row_R}))
    try:
        yield "semi join chosen_rows using (_row)"
    finally:
        con.unregister("chosen_rows")


def _placed(con: Connection, query: str, value_R: Array, row_R: Array | None) -> Array:
    """``value_R``, filled with the values of rows 0 to R - 1, or of the ascending ``row_R``."""
    for batch in con.sql(query).to_arrow_reader(READ_ROWS):
        at = batch.column(0).to_numpy()
        value_R[at if row_R is None else np.searchsorted(row_R, at)] = batch.column(1).to_numpy()
    return value_R


def newest_rows(
    path: RelationPath, requests: Requests, time_R: Array | None, count: int, max_rows: int
) -> PathIndex:
    """Each sample's rows by time, without repeats, the newest of them; ``count`` samples.

    ``time_R`` are the times of the path's table, None if it has none. After one hop rows are
    distinct and in order already.
    """
    if len(path.hops) > 1:
        time_N = None if time_R is None else time_R[requests.row_N]
        requests = _ordered(requests, time_N)
    return _as_index(requests, count, max_rows)


def _ordered(requests: Requests, time_N: Array | None) -> Requests:
    """By sample, time and row, each once; a row without a time is the oldest."""
    sample_N, row_N = requests
    time_N = row_N if time_N is None else time_N
    time_N = np.where(time_N == NEVER, -NEVER, time_N)
    order = np.lexsort((row_N, time_N, sample_N))
    return _without_repeats(Requests(sample_N[order], row_N[order]))


def _as_index(requests: Requests, count: int, max_rows: int) -> PathIndex:
    sample_N, row_N = requests
    counts_B = np.bincount(sample_N, minlength=count)
    stop_B = np.cumsum(counts_B)
    start_B = stop_B - np.minimum(counts_B, max_rows)
    at_N, _ = expand(start_B, stop_B)
    offsets_B = np.concatenate([[0], np.cumsum(stop_B - start_B)])
    return PathIndex(offsets_B.astype(np.int64), row_N[at_N].astype(np.int64))
