"""Frames -> aligned tables in an embedded database: the recipe followed outside the pipeline.

The SQL of a recipe may come from a file somebody else made, so it runs in a database without access
to files or the network, and only single SELECTs run at all.
"""

import datetime as dt
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.index import NEVER, SampleTimes
from nexus_model.align.recipe import RawTable, Recipe
from nexus_model.align.relate import check_unique, link_rows, number_rows, quoted
from nexus_model.align.samples import cutoffs_select, history_select
from nexus_model.schema import ConfigurationError, DataError, TableSpec

Connection: TypeAlias = duckdb.DuckDBPyConnection


class MissingTableWarning(UserWarning):
    """A table the model was trained with was not given."""


_WHOLE = frozenset(
    f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")
) | {"INTEGER", "UINTEGER"}


def closed_database(threads: int = 2) -> Connection:
    """An in-memory database that can reach nothing outside itself."""
    con = duckdb.connect()
    con.execute(f"set threads = {threads}")
    _prepare(con)
    close_off(con)
    return con


def database_in(folder: Path, memory: str, threads: int = 1) -> Connection:
    """A database in a file of ``folder`` that keeps no more than ``memory`` in memory.

    It reaches what it is filled from, until ``close_off``.
    """
    held = {"threads": str(threads), "memory_limit": memory, "temp_directory": str(folder / "tmp")}
    con = duckdb.connect(str(folder / "streaming.duckdb"), config=held)
    _prepare(con)
    return con


def _prepare(con: Connection) -> None:
    con.execute("set timezone = 'UTC'")
    con.execute("create schema validated")
    con.execute("create schema aligned")


def close_off(con: Connection) -> None:
    """From here on the database reaches nothing outside itself, for as long as it lives."""
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")


def single_select(con: Connection, name: str, sql: str) -> str:
    """``sql`` without a trailing semicolon, if it is one SELECT.

    Raises:
        ConfigurationError: it is more than one statement, or does something else than select.
    """
    statements = con.extract_statements(sql)
    if len(statements) != 1 or statements[0].type is not duckdb.StatementType.SELECT:
        raise ConfigurationError(f"SQL model {name!r} must be exactly one SELECT")
    return sql.strip().rstrip(";")


def load_frames(con: Connection, recipe: Recipe, frames: Mapping[str, Any]) -> frozenset[str]:
    """Put every frame into ``validated.<table>`` under the recipe's types.

    A frame is anything that gives an Arrow stream: Arrow, polars, pandas. A key such as
    ``customers.csv`` names the table ``customers``.

    Returns:
        Tables that were not given; each is empty, and a warning names it.

    Raises:
        DataError: the entity's table or a column is missing, or a value does not cast to the
            column's type.
    """
    named, absent = named_frames(recipe, frames)
    for table in recipe.raw:
        empty = pa.table({column.name: pa.nulls(0) for column in table.columns})
        load_frame(con, table, as_arrow(table.name, named.get(table.name, empty)))
    entity = recipe.entity
    check_unique(con, f"validated.{quoted(entity.name)}", entity.name, entity.primary_key)
    return absent


def named_frames(
    recipe: Recipe, frames: Mapping[str, Any]
) -> tuple[dict[str, Any], frozenset[str]]:
    """Frames by table, and which tables were not given; a warning names each.

    A key such as ``customers.csv`` names the table ``customers``.

    Raises:
        DataError: a table is unknown or given twice, or the entity's is missing.
    """
    named = {name.removesuffix(".csv").removesuffix(".parquet"): f for name, f in frames.items()}
    expected = [table.name for table in recipe.raw]
    if len(named) != len(frames):
        raise DataError(f"one table is given twice, among {sorted(frames)}", table=min(frames))
    for name in named:
        if name not in expected:
            raise DataError(f"unknown table; the model reads {expected}", table=name)
    absent = frozenset(expected).difference(named)
    if recipe.entity.name in absent:
        raise DataError("the table of those asked about is missing", table=recipe.entity.name)
    for name in expected:
        if name in absent:
            told = f"table {name} was not given: predictions are made without it"
            warnings.warn(told, MissingTableWarning, stacklevel=2)
    return named, absent


def as_arrow(table: str, frame: Any) -> pa.Table:
    """A pandas, polars or Arrow frame as an Arrow table.

    Raises:
        DataError: a column holds values of several types.
    """
    try:
        return pa.table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"a column holds values of several types: {error}", table=table) from error


def load_frame(con: Connection, table: RawTable, frame: pa.Table) -> None:
    """A raw table as ``validated.<name>``, its columns cast to the recipe's types.

    Raises:
        DataError: a column is missing or does not cast.
    """
    con.register("incoming", frame)
    load_rows(con, table, "incoming")
    con.unregister("incoming")


def load_rows(con: Connection, table: RawTable, source: str) -> None:
    """As ``load_frame``, from a relation named in SQL.

    Raises:
        DataError: a column is missing or does not cast.
    """
    given = {row[0]: str(row[1]) for row in con.sql(f"describe from {source}").fetchall()}
    for column in table.columns:
        if column.name not in given:
            raise DataError("column is missing", table=table.name, column=column.name)
    casts = {c.name: cast_sql(c.name, given[c.name], c.type) for c in table.columns}
    for column in table.columns:
        if given[column.name] == column.type:
            continue
        name = quoted(column.name)
        bad = con.sql(
            f"select count(*), any_value({name}) from {source} "
            f"where {name} is not null and ({casts[column.name]}) is null"
        ).fetchall()[0]
        if bad[0]:
            raise DataError(
                f"values do not cast to {column.type}",
                table=table.name,
                column=column.name,
                rows=bad[0],
                example=bad[1],
            )
    columns = ", ".join(f"{cast} as {quoted(name)}" for name, cast in casts.items())
    con.execute(f"create table validated.{quoted(table.name)} as select {columns} from {source}")


def cast_sql(name: str, given: str, wanted: str) -> str:
    """A column as ``wanted``: NULL where the value cannot be said in that type without loss."""
    column = quoted(name)
    if given == wanted:
        return column
    if wanted == "TIMESTAMP" and given == "VARCHAR":
        # A plain cast would drop an offset such as +02:00 instead of applying it.
        return f"try_cast({column} as timestamptz) at time zone 'UTC'"
    cast = f"try_cast({column} as {wanted})"
    if wanted in _WHOLE:
        return f"case when cast({cast} as double) = try_cast({column} as double) then {cast} end"
    return cast


def build_aligned(con: Connection, recipe: Recipe, last: dt.datetime | None) -> None:
    """Number and link every table; closed label windows are those closed by ``last``."""
    tables = {table.name: table for table in recipe.database.tables}
    modelled = {model.name for model in recipe.models}
    for name, table in tables.items():
        if name not in modelled and name != recipe.history:
            number_rows(con, f"select * from validated.{quoted(name)}", table)
    for model in recipe.models:
        select = single_select(con, model.name, model.sql)
        if model.name == recipe.labels:
            _create_cutoffs(con, recipe, last)
        try:
            _run_model(con, model.name, select, tables.get(model.name))
        except duckdb.Error as error:
            raise ConfigurationError(f"SQL model {model.name!r} failed: {error}") from error
    if recipe.history and recipe.labels and recipe.cutoffs:
        labels = f"select * from aligned.{quoted(recipe.labels)}"
        source = history_select(recipe.task, recipe.entity, labels, recipe.cutoffs)
        number_rows(con, source, tables[recipe.history])
    for table in tables.values():
        link_rows(con, table)


def _run_model(con: Connection, name: str, select: str, table: TableSpec | None) -> None:
    if table is None:
        con.execute(f"create table aligned.{quoted(name)} as {select}")
    else:
        number_rows(con, select, table)


def _create_cutoffs(con: Connection, recipe: Recipe, last: dt.datetime | None) -> None:
    if recipe.grid is None or recipe.cutoffs is None or last is None:
        raise DataError("a cutoff is needed", table=recipe.task.entity_table)
    first = first_time(con, recipe)
    select = cutoffs_select(recipe.grid, first or last, last)
    con.execute(f"create table aligned.{quoted(recipe.cutoffs)} as {select}")


def first_time(con: Connection, recipe: Recipe) -> dt.datetime | None:
    """The earliest time of any table numbered so far; the labels' model runs last, so of all."""
    numbered = {
        row[0]
        for row in con.sql(
            "select table_name from information_schema.tables where table_schema = 'aligned'"
        ).fetchall()
    }
    moments = [
        con.sql(f"select min(_time) from aligned.{quoted(table.name)}").fetchall()[0][0]
        for table in recipe.database.tables
        if table.time_column and table.name in numbered
    ]
    return min((moment for moment in moments if moment is not None), default=None)


def place_entities(con: Connection, recipe: Recipe) -> int:
    """``asked.entities``: of each row of the entity's raw table its place, key and aligned row.

    Returns:
        How many there are.

    Raises:
        DataError: an entity's key is missing, or its SQL model left it out or gives it twice.
    """
    entity = recipe.entity
    keys = ", ".join(quoted(column) for column in entity.primary_key)
    check_unique(con, f"aligned.{quoted(entity.name)}", entity.name, entity.primary_key)
    con.execute("create schema if not exists asked")
    con.execute(
        f"create or replace table asked.entities as select _place, {keys}, aligned_rows._row from "
        f"(select {keys}, row_number() over () - 1 as _place from validated.{quoted(entity.name)}) "
        f"left join (select {keys}, _row from aligned.{quoted(entity.name)}) as aligned_rows "
        f"using ({keys}) order by _place"
    )
    lost = con.sql(
        f"select {keys} from asked.entities where _row is null order by _place limit 1"
    ).fetchall()
    if lost:
        counted = "select count(*) - count(_row) from asked.entities"
        raise DataError(
            "entity has no row in the aligned table",
            table=entity.name,
            column="+".join(entity.primary_key),
            rows=con.sql(counted).fetchall()[0][0],
            example=lost[0][0] if len(entity.primary_key) == 1 else lost[0],
        )
    return int(con.sql("select count(*) from asked.entities").fetchall()[0][0])


def entity_rows(con: Connection, recipe: Recipe) -> np.ndarray:
    """Row of the aligned entity table of each row of its frame, in the frame's order.

    Raises:
        DataError: as ``place_entities``.
    """
    place_entities(con, recipe)
    found = con.sql("select _row from asked.entities order by _place").to_arrow_table()
    return np.asarray(found["_row"].to_numpy(), dtype=np.int64)


def sample_times(
    rows_B: np.ndarray, cutoff: dt.datetime | None, as_of: dt.datetime | None = None
) -> SampleTimes:
    """All entities asked at one cutoff, or at none, from data of one moment (the cutoff's)."""
    epoch = dt.datetime(1970, 1, 1)
    cutoff_us, as_of_us = (
        NEVER if moment is None else (moment - epoch) // dt.timedelta(microseconds=1)
        for moment in (cutoff, as_of)
    )
    return SampleTimes(
        rows_B,
        np.full(len(rows_B), cutoff_us, dtype=np.int64),
        np.full(len(rows_B), min(cutoff_us, as_of_us), dtype=np.int64),
    )
