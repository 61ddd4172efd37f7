"""A path as the few steps an engine takes: what DuckDB and Spark both follow, without SQL text.

Each step turns requests, pairs of a sample and a row, into others. Every engine must give the same
rows in the same order; ``index.py`` follows the steps on DuckDB, ``spark.py`` on Spark.
"""

from typing import TypeAlias, assert_never

from nexus_model.align.paths import Hop, RelationPath
from nexus_model.schema import DatabaseSpec, Record


class Known(Record):
    """Keep requests whose row is not later than what its sample knows.

    A row without a time is known only to a sample that knows everything.
    """

    table: str


class Down(Record):
    """From each row to the newest ``most`` rows of ``table`` that name it by foreign key ``key``.

    Newest by time, then by row; a row without a time is the oldest. ``only_dated``: rows later than
    what the sample knows, and those without a time, are not followed. Else every row is.
    """

    table: str
    key: int
    most: int
    only_dated: bool


class Up(Record):
    """From rows of ``table`` to the distinct rows of ``reaches`` they name by foreign key ``key``.

    ``only_known``: those not later than what the sample knows.
    """

    table: str
    key: int
    reaches: str
    only_known: bool


class Newest(Record):
    """Keep each sample's newest ``most`` distinct rows of ``table``, in the order of ``Down``."""

    table: str
    most: int


Step: TypeAlias = Known | Down | Up | Newest


def plan_path(
    database: DatabaseSpec, path: RelationPath, max_rows: int, *, asks_in_time: bool
) -> tuple[Step, ...]:
    """The steps of a path from the entity's own rows.

    Rows come out by sample, time and row. Where no sample ``asks_in_time``, all of them know
    everything.

    >>> from nexus_model.schema import TableSpec
    >>> world = DatabaseSpec(tables=(TableSpec(name="drivers", primary_key=("id",), columns=()),))
    >>> plan_path(world, RelationPath(name="drivers", table="drivers"), 4, asks_in_time=True)
    ()
    """
    if not path.hops:
        return (Known(table=path.table),) if _dated(database, path.table) else ()
    steps: list[Step] = [
        _hop(database, hop, max_rows, asks_in_time=asks_in_time) for hop in path.hops
    ]
    # After a single hop rows are distinct, in order, and as few as they may be.
    return (*steps, Newest(table=path.table, most=max_rows)) if len(steps) > 1 else tuple(steps)


def _hop(database: DatabaseSpec, hop: Hop, max_rows: int, *, asks_in_time: bool) -> Step:
    match hop.direction:
        case "down":
            only_dated = asks_in_time and _dated(database, hop.table)
            return Down(table=hop.table, key=hop.key, most=max_rows, only_dated=only_dated)
        case "up":
            only_known = _dated(database, hop.reaches)
            return Up(table=hop.table, key=hop.key, reaches=hop.reaches, only_known=only_known)
        case other:
            assert_never(other)


def _dated(database: DatabaseSpec, table: str) -> bool:
    return database[table].time_column is not None
