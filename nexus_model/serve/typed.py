"""Frames -> Arrow tables of exactly the recipe's columns and types.

A column that Arrow casts without loss is cast by Arrow; every other goes through DuckDB's casts, as
in the pipeline, which say what is wrong with it.
"""

import datetime as dt
import threading
from functools import cached_property
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.align.assemble import (
    as_arrow,
    closed_database,
    load_frame,
)
from nexus_model.align.recipe import RawTable, Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import DataError

Connection: TypeAlias = duckdb.DuckDBPyConnection

_EPOCH, _MICROSECOND = dt.datetime(1970, 1, 1), dt.timedelta(microseconds=1)
FIRST_US = (dt.datetime.min - _EPOCH) // _MICROSECOND
LAST_US = (dt.datetime.max - _EPOCH) // _MICROSECOND


class Caster:
    """Casts frames to the recipe's types; safe to call from several threads."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._lock = threading.Lock()

    @cached_property
    def _con(self) -> Connection:
        return closed_database(threads=1)

    @cached_property
    def schemas(self) -> dict[str, pa.Schema]:
        """The Arrow types of the recipe's raw columns."""
        found = {}
        with self._lock:
            for table in self._recipe.raw:
                cast = [f"cast(null as {c.type}) as {quoted(c.name)}" for c in table.columns]
                rows = self._con.sql(f"select {', '.join(cast)} limit 0").to_arrow_table()
                found[table.name] = rows.schema
        return found

    def cast(self, table: RawTable, frame: Any) -> pa.Table:
        """The table's columns under its types.

        Raises:
            DataError: a column is missing, or a value does not cast without loss.
        """
        given, schema = as_arrow(table.name, frame), self.schemas[table.name]
        for column in table.columns:
            if column.name not in given.column_names:
                raise DataError("column is missing", table=table.name, column=column.name)
        given = given.select(schema.names)
        cast = [_lossless(given[field.name], field.type) for field in schema]
        if all(column is not None for column in cast):
            made = pa.table(cast, schema=schema)
        else:
            with self._lock:
                made = self._cast_in_database(table, given).cast(schema)
        _check_moments(table.name, made)
        return made

    def _cast_in_database(self, table: RawTable, given: pa.Table) -> pa.Table:
        self._con.execute("begin transaction")
        try:
            load_frame(self._con, table, given)
            return self._con.sql(f"select * from validated.{quoted(table.name)}").to_arrow_table()
        finally:
            self._con.execute("rollback")


def _check_moments(name: str, table: pa.Table) -> None:
    """Refuse infinite moments, and those no calendar of Python's has."""
    for field in table.schema:
        if pa.types.is_timestamp(field.type):
            found = pc.min_max(table[field.name].cast(pa.int64())).as_py()
            if found["min"] is not None and not (
                found["min"] >= FIRST_US and found["max"] <= LAST_US
            ):
                raise DataError(
                    "moments are outside the years 1 to 9999", table=name, column=field.name
                )


def _lossless(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """The column cast where nothing can be lost or understood differently; else None."""
    given = column.type
    if given == wanted:
        return column
    if not (pa.types.is_null(given) or _alike(given, wanted)):
        return None
    try:
        return pc.cast(column, wanted, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _alike(given: pa.DataType, wanted: pa.DataType) -> bool:
    kinds = pa.types
    if kinds.is_timestamp(wanted):
        # Text with an offset is not read by Arrow as a moment without one, and so is left alone.
        moment = kinds.is_timestamp(given) and given.tz is None
        return moment or kinds.is_date(given) or kinds.is_string(given)
    if kinds.is_string(wanted):
        return kinds.is_large_string(given) or kinds.is_string_view(given)
    if kinds.is_integer(wanted):
        return kinds.is_integer(given)
    return kinds.is_float64(wanted) and (kinds.is_integer(given) or kinds.is_float32(given))
