"""Point-in-time CSR indexes: for each sample, which rows of a path's table it may see.

B samples, R rows of a table, N visible rows of all samples one after another. A child table sorted
by (parent, time, row) makes the rows one sample may see a contiguous slice: a binary search finds
its end and ``end - K`` its start (``children.py``), so no wide table is ever built.
"""

from typing import NamedTuple, TypeAlias

import duckdb
import numpy as np

from nexus_model.align.children import Seen, expand, newest_children
from nexus_model.align.paths import Hop, RelationPath
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
    count = len(samples.entity_B)
    requests = Requests(np.arange(count), samples.entity_B)
    if not path.hops:
        requests = _known(con, database, path.table, requests, samples.as_of_B)
    elif len(path.hops) == 1 and path.hops[0].direction == "down":
        seen = _seen(con, database, path.hops[0], requests, samples.as_of_B, max_rows)
        return PathIndex(np.concatenate([[0], np.cumsum(seen.counts_Q)]), seen.rows_N)
    for hop in path.hops:
        step = _down if hop.direction == "down" else _up
        requests = step(con, database, hop, requests, samples.as_of_B, max_rows)
    return _as_index(con, database, path, requests, count, max_rows)


def _seen(
    con: Connection,
    database: DatabaseSpec,
    hop: Hop,
    requests: Requests,
    as_of_B: Array,
    max_rows: int,
) -> Seen:
    # Samples without a cutoff see every row, those without a time included.
    timed = database[hop.table].time_column is not None and not (as_of_B == NEVER).all()
    as_of_N = as_of_B[requests.sample_N] if timed else None
    return newest_children(con, hop, requests.row_N, as_of_N, max_rows)


def _down(
    con: Connection,
    database: DatabaseSpec,
    hop: Hop,
    requests: Requests,
    as_of_B: Array,
    max_rows: int,
) -> Requests:
    """From rows to the newest visible rows that reference them; a row without a time is oldest."""
    seen = _seen(con, database, hop, requests, as_of_B, max_rows)
    return Requests(np.repeat(requests.sample_N, seen.counts_Q), seen.rows_N)


def _up(
    con: Connection,
    database: DatabaseSpec,
    hop: Hop,
    requests: Requests,
    as_of_B: Array,
    max_rows: int,  # noqa: ARG001 - both directions are called alike
) -> Requests:
    """From rows to the distinct rows they reference, if those are known."""
    links = quoted("links_" + hop.table)
    parent_R = column_of(con, links, f"_fk_{hop.key}")
    row_N = parent_R[requests.row_N]
    linked_N = row_N >= 0
    found = Requests(requests.sample_N[linked_N], row_N[linked_N])
    known = _known(con, database, hop.reaches, found, as_of_B)
    order_N = np.lexsort((known.row_N, known.sample_N))
    return _without_repeats(Requests(*(values[order_N] for values in known)))


def _without_repeats(requests: Requests) -> Requests:
    """Each pair of sample and row once; equal pairs stand beside each other."""
    sample_N, row_N = requests
    is_new_N = np.ones(len(sample_N), bool)
    is_new_N[1:] = (sample_N[1:] != sample_N[:-1]) | (row_N[1:] != row_N[:-1])
    return Requests(sample_N[is_new_N], row_N[is_new_N])


def _known(
    con: Connection, database: DatabaseSpec, table: str, requests: Requests, as_of_B: Array
) -> Requests:
    """The requests whose row is not later than what its sample knows."""
    if database[table].time_column is None:
        return requests
    keep_N = times_of(con, table)[requests.row_N] <= as_of_B[requests.sample_N]
    return Requests(requests.sample_N[keep_N], requests.row_N[keep_N])


def column_of(con: Connection, table: str, column: str) -> Array:
    """An integer column of an aligned table in row order; NULL is -1. ``table`` is quoted."""
    return _by_row(con, table, f"coalesce({column}, -1)")


def times_of(con: Connection, table: str) -> Array:
    """Times of a table's rows, microseconds since 1970; a row without a time is never."""
    return _by_row(con, quoted(table), f"coalesce(epoch_us(_time), {NEVER})")


def _by_row(con: Connection, table: str, value: str) -> Array:
    """int64 [R]: a value of each row at its row's place, in whatever order the rows are stored."""
    rows = con.sql(f"select count(*) from aligned.{table}").fetchall()[0][0]
    value_R = np.empty(rows, np.int64)
    query = f"select _row, cast({value} as bigint) as v from aligned.{table}"
    for batch in con.sql(query).to_arrow_reader(READ_ROWS):
        value_R[batch.column(0).to_numpy()] = batch.column(1).to_numpy()
    return value_R


def _as_index(
    con: Connection,
    database: DatabaseSpec,
    path: RelationPath,
    requests: Requests,
    count: int,
    max_rows: int,
) -> PathIndex:
    timed = database[path.table].time_column is not None
    time_R = times_of(con, path.table) if timed and len(path.hops) > 1 else None
    return newest_rows(path, requests, time_R, count, max_rows)


def newest_rows(
    path: RelationPath, requests: Requests, time_R: Array | None, count: int, max_rows: int
) -> PathIndex:
    """Each sample's rows by time, without repeats, the newest of them; ``count`` samples.

    ``time_R`` are the times of the path's table, None if it has none. After one hop rows are
    distinct and in order already.
    """
    sample_N, row_N = requests
    if len(path.hops) > 1:
        time_N = row_N if time_R is None else time_R[row_N]
        time_N = np.where(time_N == NEVER, -NEVER, time_N)
        order = np.lexsort((row_N, time_N, sample_N))
        sample_N, row_N = _without_repeats(Requests(sample_N[order], row_N[order]))
    counts_B = np.bincount(sample_N, minlength=count)
    stop_B = np.cumsum(counts_B)
    start_B = stop_B - np.minimum(counts_B, max_rows)
    at_N, _ = expand(start_B, stop_B)
    offsets_B = np.concatenate([[0], np.cumsum(stop_B - start_B)])
    return PathIndex(offsets_B.astype(np.int64), row_N[at_N].astype(np.int64))
