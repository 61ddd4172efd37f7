"""Point-in-time CSR indexes: for each sample, which rows of a path's table it may see.

B samples, N visible rows of all samples one after another. A child table sorted by (parent, time,
row) makes the rows one sample may see a contiguous slice: one ASOF join finds its end and
``end - K`` its start, so no row is ever copied per sample and no wide table is ever built.
"""

from typing import NamedTuple, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.paths import Hop, RelationPath
from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array = np.ndarray

DAY_US = 86_400_000_000
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
    for hop in path.hops:
        step = _down if hop.direction == "down" else _up
        requests = step(con, database, hop, requests, samples.as_of_B, max_rows)
    return _as_index(con, database, path, requests, count, max_rows)


def _down(
    con: Connection,
    database: DatabaseSpec,
    hop: Hop,
    requests: Requests,
    as_of_B: Array,
    max_rows: int,
) -> Requests:
    """From rows to the newest visible rows that reference them; a row without a time is oldest."""
    # Samples without a cutoff see every row, those without a time included.
    timed = database[hop.table].time_column is not None and not (as_of_B == NEVER).all()
    con.register(
        "requests",
        pa.table(
            {
                "request": np.arange(len(requests.sample_N)),
                "parent": requests.row_N,
                "as_of": as_of_B[requests.sample_N],
            }
        ),
    )
    con.execute(_ordered_children(hop, timed))
    slices = con.sql(_slices(timed)).to_arrow_table()
    rows_N = con.sql("select _row from children order by pos").to_arrow_table()["_row"].to_numpy()
    con.execute("drop table children")
    con.unregister("requests")
    stop_B = slices["stop"].to_numpy()
    start_B = np.maximum(slices["start"].to_numpy(), stop_B - max_rows)
    at_N, which_N = expand(start_B, stop_B)
    asked = slices["request"].to_numpy()
    return Requests(requests.sample_N[asked[which_N]], rows_N[at_N])


def _ordered_children(hop: Hop, timed: bool) -> str:  # noqa: FBT001 - a fact of the table
    table, links = quoted(hop.table), quoted("links_" + hop.table)
    key = f"links._fk_{hop.key}"
    dated = "and child._time is not null" if timed else ""
    return f"""
    create or replace temp table children as
    select {key} as parent, epoch_us(child._time) as moment, child._row,
        row_number() over (order by {key}, child._time nulls first, child._row) - 1 as pos
    from aligned.{table} as child
    inner join aligned.{links} as links on child._row = links._row
    where {key} is not null {dated}
    """


def _slices(timed: bool) -> str:  # noqa: FBT001 - a fact of the table
    groups = """
    with groups as (
        select parent, min(pos) as start, max(pos) + 1 as stop from children group by parent
    )
    """
    if not timed:
        return f"""{groups}
        select requests.request, groups.start, groups.stop
        from requests inner join groups on requests.parent = groups.parent
        order by requests.request
        """
    # Rows of one moment share their last position, so that ties cannot be split.
    return f"""{groups},
    moments as (select parent, moment, max(pos) + 1 as stop from children group by parent, moment)
    select requests.request, groups.start, moments.stop
    from requests
    asof inner join moments
        on requests.parent = moments.parent and requests.as_of >= moments.moment
    inner join groups on requests.parent = groups.parent
    order by requests.request
    """


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
    pairs = np.unique(np.stack(_known(con, database, hop.reaches, found, as_of_B)), axis=1)
    return Requests(pairs[0], pairs[1])


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
    query = f"select coalesce({column}, -1) as v from aligned.{table} order by _row"
    return con.sql(query).to_arrow_table()["v"].to_numpy().astype(np.int64)


def times_of(con: Connection, table: str) -> Array:
    """Times of a table's rows, microseconds since 1970; a row without a time is never."""
    query = (
        f"select coalesce(epoch_us(_time), {NEVER}) as v from aligned.{quoted(table)} order by _row"
    )
    return con.sql(query).to_arrow_table()["v"].to_numpy().astype(np.int64)


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
        pairs = np.unique(np.stack([sample_N, row_N]), axis=1)
        sample_N, row_N = pairs[0], pairs[1]
        time_N = row_N if time_R is None else time_R[row_N]
        time_N = np.where(time_N == NEVER, -NEVER, time_N)
        order = np.lexsort((row_N, time_N, sample_N))
        sample_N, row_N = sample_N[order], row_N[order]
    counts_B = np.bincount(sample_N, minlength=count)
    stop_B = np.cumsum(counts_B)
    start_B = stop_B - np.minimum(counts_B, max_rows)
    at_N, _ = expand(start_B, stop_B)
    offsets_B = np.concatenate([[0], np.cumsum(stop_B - start_B)])
    return PathIndex(offsets_B.astype(np.int64), row_N[at_N].astype(np.int64))


def expand(start_B: Array, stop_B: Array) -> tuple[Array, Array]:
    """Positions ``start..stop`` of every slice one after another, and the slice each is of.

    >>> expand(np.array([0, 5]), np.array([2, 6]))[0].tolist()
    [0, 1, 5]
    """
    length_B = stop_B - start_B
    which_N = np.repeat(np.arange(len(length_B)), length_B)
    before_B = np.cumsum(length_B) - length_B
    at_N = np.arange(len(which_N)) - before_B[which_N] + start_B[which_N]
    return at_N, which_N
