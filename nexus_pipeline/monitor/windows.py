"""Rows of the tables a task reads, of a span of time: what is compared with what.

A table with a time column gives its rows dated within the span. One without gives the rows that
rows within the span refer to, directly or by way of another table without time: the drivers who
drove, not everybody who ever did. A task without time is about all rows.
"""

import datetime as dt
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.paths import unreached_tables
from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec, SemanticType, TableSpec
from nexus_pipeline.monitor.design import KEY
from nexus_pipeline.monitor.distances import Array

DAY = dt.timedelta(days=1)


class Span(NamedTuple):
    """Rows dated ``start`` or later, and before ``end``."""

    start: dt.datetime
    end: dt.datetime

    @classmethod
    def before(cls, end: dt.datetime, days: int) -> "Span":
        """So many days up to a moment."""
        return cls(end - dt.timedelta(days=days), end)

    @property
    def days(self) -> int:
        """How long."""
        return max(1, round((self.end - self.start) / DAY))


class TableRows(NamedTuple):
    """A bounded sample of rows, how many there are, and how many on each day of the span.

    Columns of ``sample`` are numbers or text: moments are days before the end of the span (without
    one, before the newest), texts their length. Keys follow as ``_key_0``, ``_key_1``, ... and
    ``_key_day``.
    """

    sample: pa.Table
    rows: int
    daily: tuple[int, ...] = ()

    def arrays(self) -> dict[str, Array]:
        """Columns as numbers with NaN, or as objects with None."""
        names = [name for name in self.sample.column_names if not name.startswith(KEY)]
        return {name: as_array(self.sample[name]) for name in names}


def as_array(column: pa.ChunkedArray) -> Array:
    """Numbers with NaN where missing, everything else as objects with None."""
    if pa.types.is_floating(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist()
    return values


def tables_read(recipe: Recipe) -> tuple[TableSpec, ...]:
    """The tables a task's model reads, but for the history of its labels."""
    apart = {*unreached_tables(recipe.database, recipe.paths), recipe.history}
    return tuple(table for table in recipe.database.tables if table.name not in apart)


def read_rows(
    con: duckdb.DuckDBPyConnection, recipe: Recipe, span: Span | None, most: int
) -> dict[str, TableRows]:
    """Rows by table; drawn by a hash of their key, so that the same rows are drawn again."""
    read = tables_read(recipe)
    known = DatabaseSpec(tables=tuple(_within(table, read) for table in read))
    return {table.name: _rows(con, known, table, span, most) for table in known.tables}


def _within(table: TableSpec, read: tuple[TableSpec, ...]) -> TableSpec:
    """The table without keys into tables that are not read."""
    names = {other.name for other in read}
    if all(key.references_table in names for key in table.foreign_keys):
        return table
    return table.model_copy(update={"foreign_keys": ()})


def _rows(
    con: duckdb.DuckDBPyConnection,
    database: DatabaseSpec,
    table: TableSpec,
    span: Span | None,
    most: int,
) -> TableRows:
    source, where = f"aligned.{quoted(table.name)}", "true"
    if span is not None:
        where = rows_within(database, table, span)
    there = {row[0] for row in con.sql(f"describe {source}").fetchall()}
    columns = [
        _column_sql(column.name, column.semantic, span)
        for column in table.columns
        if column.name in there
    ]
    for place, key in enumerate(table.foreign_keys):
        own = ", ".join(quoted(column) for column in key.columns)
        columns.append(f"concat_ws('|', {own}) as {KEY}{place}")
    if span is not None and span.days > 1 and table.time_column is not None:
        columns.append(f"cast(cast(_time as date) as varchar) as {KEY}day")
    identity = ", ".join(quoted(column) for column in table.primary_key) or "_row"
    found = con.sql(
        f"select {', '.join(columns) or '_row as _key_row'} from {source} where {where} "
        f"order by md5(concat_ws('|', {identity})), _row limit {most}"
    ).to_arrow_table()
    rows = con.sql(f"select count(*) from {source} where {where}").fetchall()[0][0]
    return TableRows(found, int(rows), _daily(con, table, span))


def rows_within(
    database: DatabaseSpec, table: TableSpec, span: Span, seen: frozenset[str] = frozenset()
) -> str:
    """The SQL of which rows of a table belong to a span; all where nothing dates them."""
    start, end = (f"timestamp '{moment}'" for moment in span)
    if table.time_column is not None:
        return f"(_time >= {start} and _time < {end})"
    own, parts = seen | {table.name}, []
    for child in database.tables:
        if child.name in own:
            continue
        for place, key in enumerate(child.foreign_keys):
            if key.references_table == table.name:
                inside = rows_within(database, child, span, own)
                chosen = f"select _row from aligned.{quoted(child.name)} where {inside}"
                links = f"aligned.{quoted('links_' + child.name)}"
                parts.append(f"select _fk_{place} from {links} where _row in ({chosen})")
    return f"_row in ({' union all '.join(parts)})" if parts else "true"


def _column_sql(name: str, kind: SemanticType, span: Span | None) -> str:
    own = quoted(name)
    match kind:
        case SemanticType.NUMERICAL:
            value = f"try_cast({own} as double)"
        case SemanticType.TIMESTAMP:
            moment = f"epoch(try_cast({own} as timestamp))"
            end = f"max({moment}) over ()" if span is None else f"epoch(timestamp '{span.end}')"
            value = f"cast(({end} - {moment}) / 86400 as double)"
        case SemanticType.TEXT:
            value = f"cast(length(cast({own} as varchar)) as double)"
        case _:
            value = f"cast({own} as varchar)"
    return f"{value} as {own}"


def _daily(con: duckdb.DuckDBPyConnection, table: TableSpec, span: Span | None) -> tuple[int, ...]:
    """Rows on each day of the span from the table's first row on; none without time."""
    if span is None or table.time_column is None:
        return ()
    start, end = (f"timestamp '{moment}'" for moment in span)
    found = con.sql(
        f"select cast(floor((epoch(_time) - epoch({start})) / 86400) as integer) as day, count(*) "
        f"from aligned.{quoted(table.name)} where _time >= {start} and _time < {end} group by day"
    ).fetchall()
    counts = np.zeros(span.days, np.int64)
    for day, rows in found:
        counts[min(int(day), span.days - 1)] += rows
    first = con.sql(f"select min(_time) from aligned.{quoted(table.name)}").fetchall()[0][0]
    begun = 0 if first is None else max(0, (first - span.start) // DAY)
    return tuple(int(count) for count in counts[begun:])
