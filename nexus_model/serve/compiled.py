"""A recipe's SQL as one prepared statement: every model is a part of it, planned once.

Planning the statements of a recipe and making their tables takes longer than running them over one
entity's rows. Here each table is a common table expression of one statement, whose inputs are
places that a request's rows are put into. What it gives is what the statements give one by one.

R rows of a table.
"""

import datetime as dt
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.align.assemble import closed_database
from nexus_model.align.index import NEVER
from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.align.samples import cutoffs_select
from nexus_model.schema import ConfigurationError, TableSpec
from nexus_model.serve.apart import parsed_sql

Connection: TypeAlias = duckdb.DuckDBPyConnection

MOST_ROWS = 20_000
OLDEST = dt.timedelta(days=36_525)
AHEAD = dt.timedelta(days=366)
_GRID, _FIRST, _PROBE = "_grid", "_first", "_probe"
_AT_FIRST = "_aligned__first"
_EPOCH, _MICROSECOND = dt.datetime(1970, 1, 1), dt.timedelta(microseconds=1)


class AlignedRows(NamedTuple):
    """An aligned table in row order: its columns, the request and the moment of each row.

    ``time_R`` is microseconds since 1970, ``NEVER`` where there is none.
    """

    columns: pa.Table
    request_R: np.ndarray
    time_R: np.ndarray


class Step(NamedTuple):
    """A table to make: its name in ``aligned`` and the SELECT that gives it; none for cutoffs."""

    name: str
    sql: str


class _Place:
    """A table a statement reads, whatever rows are in it by then."""

    def __init__(self, rows: pa.Table) -> None:
        self.empty = self.rows = rows.slice(0, 0)

    def __arrow_c_schema__(self) -> object:
        return self.empty.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class CompiledRecipe:
    """Follows one recipe for one small request at a time; one thread at a time.

    Raises:
        duckdb.Error: the statements do not go together.
        ConfigurationError: they cannot be taken apart, or the database keeps rows of its inputs.
    """

    def __init__(
        self, recipe: Recipe, steps: Sequence[Step], schemas: Mapping[str, pa.Schema]
    ) -> None:
        self.recipe = recipe
        self.con = closed_database(threads=1)
        # A connection and what is registered with it hold each other, also when the process ends.
        weakref.finalize(self, self.con.close)
        self._places = {name: _Place(schema.empty_table()) for name, schema in schemas.items()}
        for name, place in self._places.items():
            self.con.register(_named("validated", name), place)
        _check_places(self.con)
        self._low = self._high = dt.datetime.max
        if recipe.grid is not None:
            self._low = self._high = recipe.grid.validation_from
        self._grid = self._cutoffs()
        self._places[_GRID] = _Place(self._grid)
        self.con.register(_GRID, self._places[_GRID])
        self.con.execute(f"prepare aligned_all as {_one_select(self.con, recipe, steps)}")

    def follow(
        self, tables: Mapping[str, pa.Table], moment: dt.datetime | None
    ) -> dict[str, AlignedRows] | None:
        """Every aligned table in row order; None if the request is better followed step by step.

        Raises:
            duckdb.Error: a SQL model fails on these rows.
        """
        if sum(len(rows) for rows in tables.values()) > MOST_ROWS:
            return None
        if self.recipe.grid is not None:
            if moment is None:
                return None
            if not self._reaches(moment):
                return None
        with self._filled(tables, moment):
            found = self.con.sql("execute aligned_all").to_arrow_table()
        first = found[_FIRST][0].as_py()
        if self.recipe.grid is not None and first is not None and first < self._low:
            # Cutoffs before the grid's beginning belong to it as well.
            if not self._reaches(first):
                return None
            return self.follow(tables, moment)
        return {
            table.name: _unpacked(found[table.name], columns_read(self.recipe, table))
            for table in self.recipe.database.tables
        }

    @contextmanager
    def _filled(self, tables: Mapping[str, pa.Table], moment: dt.datetime | None) -> Iterator[None]:
        """Rows are in their places for as long as the block."""
        for name, rows in tables.items():
            self._places[name].rows = rows
        if moment is not None and self.recipe.grid is not None:
            last = (moment - _EPOCH) // _MICROSECOND
            closed = self._grid["window_end"].cast(pa.int64()).to_numpy() <= last
            self._places[_GRID].rows = self._grid.filter(pa.array(closed))
        try:
            yield
        finally:
            for place in self._places.values():
                place.rows = place.empty

    def _reaches(self, moment: dt.datetime) -> bool:
        """Whether the grid has the cutoffs up to a moment, or from it on; it grows if need be."""
        grid = self.recipe.grid
        if grid is None or abs(moment - grid.validation_from) > OLDEST:
            return False
        if moment < self._low or moment > self._high:
            self._low = min(self._low, moment)
            self._high = max(self._high, moment + AHEAD)
            self._grid = self._cutoffs()
        return True

    def _cutoffs(self) -> pa.Table:
        if self.recipe.grid is None:
            return pa.table({"cutoff": pa.nulls(0, pa.timestamp("us"))})
        select = cutoffs_select(self.recipe.grid, self._low, self._high)
        return self.con.sql(select).to_arrow_table()


def columns_read(recipe: Recipe, table: TableSpec) -> list[str]:
    """Columns of an aligned table that something outside SQL reads: keys and features."""
    referenced = [
        column
        for other in recipe.database.tables
        for key in other.foreign_keys
        if key.references_table == table.name
        for column in key.references_columns
    ]
    names = (*table.key_columns, *referenced, *(column.name for column in table.columns))
    return list(dict.fromkeys(names))


def _named(schema: str, table: str) -> str:
    return f"_{schema}_{table}"


def _check_places(con: Connection) -> None:
    """Refuse a database that would answer from the rows a place had when it was registered."""
    place = _Place(pa.table({"n": [1, 2]}))
    con.register(_PROBE, place)
    con.execute(f"prepare counted as select count(*) from {_PROBE}")
    for rows in (2, 1, 0):
        place.rows = pa.table({"n": list(range(rows))}, schema=place.empty.schema)
        if con.execute("execute counted").fetchall() != [(rows,)]:
            raise ConfigurationError("the database keeps the rows of its inputs")
    con.execute("deallocate counted")
    con.unregister(_PROBE)


def _one_select(con: Connection, recipe: Recipe, steps: Sequence[Step]) -> str:
    """All statements as one: an aligned table is a part, a validated one a place."""
    read: dict[str, int] = {}
    parts: list[tuple[str, str]] = []
    for name, own in steps:
        sql = own
        if name == recipe.cutoffs:
            # Cutoffs after the first row of the tables made before them.
            first = _first(recipe, [made for made, _ in parts])
            parts.append((_FIRST, _renamed(con, first, read)))
            read[_FIRST] = 2
            sql = f"select * from {_GRID} where cutoff >= (select moment from {_AT_FIRST})"
        parts.append((name, _renamed(con, sql, read)))
    common = ", ".join(
        f"{quoted(_named('aligned', name))} as "
        # What is read again must be made once; what is only given need not be kept as well.
        f"{'' if read.get(name) else 'not '}materialized ({sql}\n)"
        for name, sql in parts
    )
    given = [_packed(table) for table in recipe.database.tables]
    first = f"(select moment from {_AT_FIRST})" if _FIRST in read else "null"
    return f"with {common} select {', '.join(given)}, {first} as {_FIRST}"


def _first(recipe: Recipe, made: Sequence[str]) -> str:
    """The SQL of the earliest time of some tables."""
    timed = [
        f"select min(_time) as t from aligned.{quoted(table.name)}"
        for table in recipe.database.tables
        if table.time_column and table.name in made
    ]
    every = " union all ".join(timed) or "select cast(null as timestamp) as t"
    return f"select min(t) as moment from ({every}) as firsts"


def _renamed(con: Connection, sql: str, read: dict[str, int]) -> str:
    """The SELECT with tables replaced by parts and places; counts what it reads."""
    tree = json.dumps(_rename(parsed_sql(con, sql + "\n"), read))
    found = con.execute("select json_deserialize_sql(cast(? as json))", [tree]).fetchall()
    return str(found[0][0])


def _rename(node: Any, read: dict[str, int]) -> Any:
    if isinstance(node, list):
        return [_rename(part, read) for part in node]
    if not isinstance(node, dict):
        return node
    made = {key: _rename(part, read) for key, part in node.items()}
    if node.get("type") == "BASE_TABLE" and node.get("schema_name") in ("aligned", "validated"):
        schema, table = node["schema_name"], node["table_name"]
        if schema == "aligned":
            read[table] = read.get(table, 0) + 1
        made |= {
            "schema_name": "",
            "table_name": _named(schema, table),
            "qualified_name": {"path": [_named(schema, table)]},
            "alias": node["alias"] or table,
        }
    return made


def _packed(table: TableSpec) -> str:
    """A whole table as one cell: a list of rows.

    Of all its columns, so that a value that fails in one that nobody reads fails here as well.
    """
    part = quoted(_named("aligned", table.name))
    return f"(select list(packed) from {part} as packed) as {quoted(table.name)}"


def _unpacked(cell: pa.ChunkedArray, names: Sequence[str]) -> AlignedRows:
    rows = pa.Table.from_struct_array(cell.combine_chunks().flatten())
    row_R = rows["_row"].to_numpy()
    if len(row_R) > 1 and not (np.diff(row_R) == 1).all():
        rows = rows.take(pa.array(np.argsort(row_R)))
    time_R = np.asarray(pc.fill_null(rows["_time"].cast(pa.int64()), NEVER))
    return AlignedRows(rows.select(list(names)), np.zeros_like(time_R), time_R)
