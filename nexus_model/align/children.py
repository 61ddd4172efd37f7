"""Rows that reference a parent, in order, a part at a time: which of them each request may see.

Q requests, R rows of the child table, N rows seen by all requests one after another. DuckDB sorts
the children by (parent, time, row), spilling to disk where they do not fit its memory limit; parts
of whole parents pass by once, and a binary search in each finds what its requests see. So memory is
that of the requests, of what they see, and of the rows of one part.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.plan import Down
from nexus_model.align.relate import quoted

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array = np.ndarray

PART_ROWS = 1 << 18


class Part(NamedTuple):
    """Children of whole parents, in order; ``moment_R`` is None where no row has a time."""

    parent_R: Array
    row_R: Array
    moment_R: Array | None


class Seen(NamedTuple):
    """Rows each request sees, oldest first: ``counts_Q`` of each, ``rows_N`` of all."""

    counts_Q: Array
    rows_N: Array


def newest_children(con: Connection, down: Down, parent_Q: Array, as_of_Q: Array | None) -> Seen:
    """The newest children of each parent asked about that are not later than asked.

    Without ``as_of_Q`` every child is seen, those without a time as the oldest; with it, children
    without a time are not.
    """
    order_Q = np.argsort(parent_Q, kind="stable")
    sorted_Q = parent_Q[order_Q]
    counts_Q, found = np.zeros(len(parent_Q), np.int64), []
    for part in _parts(con, down, sorted_Q, is_timed=as_of_Q is not None):
        first = np.searchsorted(sorted_Q, part.parent_R[0], side="left")
        last = np.searchsorted(sorted_Q, part.parent_R[-1], side="right")
        asked_Q = order_Q[first:last]
        start_Q, stop_Q = _slices(part, sorted_Q[first:last], as_of_Q, asked_Q)
        start_Q = np.maximum(start_Q, stop_Q - down.most)
        counts_Q[asked_Q] = stop_Q - start_Q
        found.append((asked_Q, _narrow(part.row_R[expand(start_Q, stop_Q)[0]])))
    return Seen(counts_Q, _in_order(counts_Q, found))


def _narrow(rows_N: Array) -> Array:
    """The same numbers in as few bytes as they need: all parts' are kept until the last is read."""
    return rows_N.astype(np.min_scalar_type(int(rows_N.max(initial=0))))


def _slices(
    part: Part, parent_Q: Array, as_of_Q: Array | None, asked_Q: Array
) -> tuple[Array, Array]:
    """Where in the part what each request sees starts and stops."""
    start_Q = np.searchsorted(part.parent_R, parent_Q, side="left")
    stop_Q = np.searchsorted(part.parent_R, parent_Q, side="right")
    if as_of_Q is None or part.moment_R is None:
        return start_Q, stop_Q
    return start_Q, not_later(part.moment_R, start_Q, stop_Q, as_of_Q[asked_Q])


def not_later(moment_R: Array, start_Q: Array, stop_Q: Array, as_of_Q: Array) -> Array:
    """The end of what is not later in each slice; moments ascend within a slice.

    >>> one = np.array([0])
    >>> not_later(np.array([1, 5, 5, 9]), one, one + 4, np.array([5])).tolist()
    [3]
    """
    low_Q, high_Q = start_Q.copy(), stop_Q.copy()
    for _ in range(int(np.max(high_Q - low_Q, initial=0)).bit_length()):
        middle_Q = (low_Q + high_Q) // 2
        open_Q = low_Q < high_Q
        is_seen_Q = open_Q & (moment_R[np.minimum(middle_Q, len(moment_R) - 1)] <= as_of_Q)
        low_Q = np.where(is_seen_Q, middle_Q + 1, low_Q)
        high_Q = np.where(open_Q & ~is_seen_Q, middle_Q, high_Q)
    return low_Q


def _in_order(counts_Q: Array, found: list[tuple[Array, Array]]) -> Array:
    """Rows of all parts in the order of the requests; the parts are given up as they are read."""
    offsets_Q = np.cumsum(counts_Q) - counts_Q
    rows_N = np.empty(int(counts_Q.sum()), np.int64)
    while found:
        asked_Q, rows = found.pop()
        at_N, _ = expand(offsets_Q[asked_Q], offsets_Q[asked_Q] + counts_Q[asked_Q])
        rows_N[at_N] = rows
    return rows_N


def _parts(con: Connection, down: Down, sorted_Q: Array, *, is_timed: bool) -> Iterator[Part]:
    """Children of the parents asked about, a part of whole parents after another."""
    kept_Q = np.empty(len(sorted_Q), bool)
    kept_Q[:1], kept_Q[1:] = True, sorted_Q[1:] != sorted_Q[:-1]
    asked = sorted_Q[kept_Q]
    con.register("asked", pa.table({"parent": asked}))
    try:
        reader = con.sql(_ordered(down, asked, is_timed=is_timed)).to_arrow_reader(PART_ROWS)
        open_parent: list[pa.RecordBatch] = []  # whose rows may go on in the next batch
        for batch in filter(len, reader):
            parent_R = batch.column(0).to_numpy()
            if open_parent and open_parent[0].column(0)[0].as_py() == parent_R[-1]:
                open_parent.append(batch)
                continue
            cut = int(np.searchsorted(parent_R, parent_R[-1], side="left"))
            whole = [part for part in (*open_parent, batch.slice(0, cut)) if len(part)]
            if whole:
                yield _joined(whole)
            open_parent = [batch.slice(cut)]
        if open_parent:
            yield _joined(open_parent)
    finally:
        con.unregister("asked")


def _joined(batches: list[pa.RecordBatch]) -> Part:
    whole = pa.Table.from_batches(batches)
    columns = [whole.column(name).to_numpy() for name in whole.column_names]
    return Part(columns[0], columns[1], columns[2] if len(columns) > 2 else None)


def _ordered(down: Down, asked: Array, *, is_timed: bool) -> str:
    """Children of the ascending parents asked about, in order.

    Where these are most of the parents between the first and the last, all of those between pass
    by: each row looked up would cost more than the rows too many.
    """
    links, key = f"aligned.{quoted('links_' + down.table)}", f"_fk_{down.key}"
    dated, moment = (", _moment", "and _moment is not null") if is_timed else ("", "")
    are_most = len(asked) > 0 and 2 * len(asked) > asked[-1] - asked[0]
    between = f"between {asked[0]} and {asked[-1]}" if are_most else ""
    return (
        f"select {key}, _row{dated} from {links} "
        f"where {key} {between or 'in (select parent from asked)'} {moment} "
        f"order by {key}, _moment nulls first, _row"
    )


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
