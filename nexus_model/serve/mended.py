"""Raw frames with broken rows -> frames that can be read, and a flag for every broken row.

No row is left out. A cell that cannot be read is read as missing; a row whose key is missing or
taken gets a key that nobody names, so that it is read without the rows of others. What is only
suspicious, such as a number far outside the training rows', is flagged and read as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.align.assemble import cast_sql, closed_database
from nexus_model.align.recipe import RawTable, Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import DataError, Record, TableSpec
from nexus_model.serve.linked import codes_of
from nexus_model.serve.made_keys import made_keys
from nexus_model.tokenize.columns import CLIP
from nexus_model.tokenize.statistics import NumericalColumn, Tokenizer

Array: TypeAlias = np.ndarray
_FIRST, _LAST = "0001-01-01", "9999-12-31"
# Nanoseconds since 1970 in 64 bits: what validation takes as a row's time.
_FIRST_TIME, _LAST_TIME = "1677-09-22", "2262-04-11"


class RowFlag(Record):
    """What is wrong with a row, counted from 0 in its file, and the cell as it came."""

    table: str
    row: int
    flag: str
    column: str
    value: str | None = None


class Mended(NamedTuple):
    """Frames under the recipe's types; flags; key columns of the entity's rows as they came, NULL
    where they cannot be read; and of each of those rows the one whose answer it shares.
    """

    frames: dict[str, pa.Table]
    flags: list[RowFlag]
    keys: pa.Table
    same_B: Array


def mend_frames(recipe: Recipe, tokenizer: Tokenizer, frames: Mapping[str, pa.Table]) -> Mended:
    """Frames of raw tables, by name, made readable.

    Raises:
        DataError: a column is missing, or a key's type has no value left to give.
    """
    flags: list[RowFlag] = []
    typed: dict[str, pa.Table] = {}
    with closed_database(threads=1) as con:
        for table in recipe.raw:
            if table.name in frames:
                typed[table.name] = _typed(con, recipe, table, frames[table.name], flags)
    for name, rows in typed.items():
        flags += _suspicious(tokenizer, name, rows)
    entity = recipe.entity
    keys = typed[entity.name].select(list(entity.primary_key))
    for known in recipe.database.tables:
        if known.name in typed and known.primary_key:
            typed[known.name] = _keyed(recipe, known, typed[known.name], flags)
    for known in recipe.database.tables:
        flags += _orphans(known, typed)
    flags.sort(key=lambda flag: (flag.table, flag.row, flag.flag))
    return Mended(typed, flags, keys, _same_rows(frames[entity.name], keys))


def _typed(
    con: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    table: RawTable,
    frame: pa.Table,
    flags: list[RowFlag],
) -> pa.Table:
    for column in table.columns:
        if column.name not in frame.column_names:
            raise DataError("column is missing", table=table.name, column=column.name)
    given = frame.select([column.name for column in table.columns])
    con.register("incoming", given)
    kinds = {row[0]: str(row[1]) for row in con.sql("describe incoming").fetchall()}
    times = {known.time_column for known in recipe.database.tables if known.name == table.name}
    casts, texts = [], []
    for column in table.columns:
        cast = cast_sql(column.name, kinds[column.name], column.type)
        casts.append(f"{_within(cast, column.type, column.name in times)} as {quoted(column.name)}")
        texts.append(f"cast({quoted(column.name)} as varchar) as {quoted(column.name)}")
    made = con.sql(f"select {', '.join(casts)} from incoming").to_arrow_table()
    spelled = con.sql(f"select {', '.join(texts)} from incoming").to_arrow_table()
    con.unregister("incoming")
    for column in table.columns:
        lost = pc.is_null(made[column.name])
        came = pc.is_valid(spelled[column.name])
        flags += _flagged(table.name, column.name, "unreadable", pc.and_(lost, came), spelled)
        if column.filled:
            empty = pc.and_(lost, pc.invert(came))
            flags += _flagged(table.name, column.name, "missing", empty, spelled)
    return made


def _within(cast: str, kind: str, is_time: bool) -> str:  # noqa: FBT001 - of one column
    """The cast, NULL where the value is not finite or no moment that can be kept."""
    if kind in {"FLOAT", "DOUBLE"}:
        return f"case when isfinite({cast}) then {cast} end"
    if kind == "DATE" or kind.startswith("TIMESTAMP"):
        first, last = (_FIRST_TIME, _LAST_TIME) if is_time else (_FIRST, _LAST)
        return f"case when {cast} between date '{first}' and date '{last}' then {cast} end"
    return cast


def _flagged(
    table: str, column: str, flag: str, chosen: Any, shown: pa.Table | None
) -> Iterator[RowFlag]:
    for row in np.flatnonzero(np.asarray(pc.fill_null(chosen, fill_value=False))).tolist():
        value = None if shown is None else shown[column][row].as_py()
        told = None if value is None else str(value)
        yield RowFlag(table=table, row=row, flag=flag, column=column, value=told)


def _suspicious(tokenizer: Tokenizer, name: str, rows: pa.Table) -> Iterator[RowFlag]:
    """Numbers far outside the training rows', and categories they did not have.

    A column that a SQL model makes has no raw cells to look at.
    """
    fitted = next((table for table in tokenizer.tables if table.table == name), None)
    for numerical in fitted.numerical if fitted else ():
        if numerical.name in rows.column_names and _is_number(rows[numerical.name].type):
            values_R = np.asarray(pc.cast(rows[numerical.name], pa.float64(), safe=False))
            yield from _flagged(
                name, numerical.name, "far_outside", _far(values_R, numerical), rows
            )
    for categorical in fitted.categorical if fitted else ():
        if categorical.name in rows.column_names:
            texts = pc.cast(rows[categorical.name], pa.string())
            known = pc.is_in(texts, value_set=pa.array(categorical.vocabulary, pa.string()))
            chosen = pc.and_(pc.invert(known), pc.is_valid(texts))
            yield from _flagged(name, categorical.name, "unknown_category", chosen, rows)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _far(values_R: Array, fitted: NumericalColumn) -> pa.Array:
    """Farther from the training rows' values than those are wide, or ten deviations off."""
    with np.errstate(invalid="ignore", over="ignore"):
        if fitted.knots:
            low, high = fitted.knots[0], fitted.knots[-1]
            return pa.array((values_R / 2 < low - high / 2) | (values_R / 2 > high - low / 2))
        return pa.array(np.abs(values_R - fitted.mean) / fitted.std > CLIP)


def _keyed(recipe: Recipe, table: TableSpec, rows: pa.Table, flags: list[RowFlag]) -> pa.Table:
    """Rows whose key is missing, or an earlier row's, with a key of their own.

    Where nobody is asked about the table's rows and nobody names them, keys are as they came.
    """
    names = [name for name in table.primary_key if name in rows.column_names]
    if len(names) < len(table.primary_key):
        return rows
    codes_R = codes_of([rows[name] for name in names])
    first_R = np.zeros(len(codes_R), bool)
    first_R[np.unique(codes_R, return_index=True)[1]] = True
    nameless_R = codes_R < 0
    repeated_R = ~first_R & ~nameless_R
    label = "+".join(names)
    for flag, chosen_R in (("no_key", nameless_R), ("repeated_key", repeated_R)):
        for row in np.flatnonzero(chosen_R).tolist():
            told = ", ".join(str(rows[name][row].as_py()) for name in names)
            flags.append(RowFlag(table=table.name, row=row, flag=flag, column=label, value=told))
    broken_R = np.flatnonzero(nameless_R | repeated_R)
    if not len(broken_R) or not (table.name == recipe.entity.name or _is_named(recipe, table)):
        return rows
    for number, name in enumerate(names):
        made = made_keys(rows[name], broken_R, fill_only=number > 0)
        if made is None:
            raise DataError("no key is left for rows without one", table=table.name, column=name)
        rows = rows.set_column(rows.column_names.index(name), rows.schema.field(name), made)
    return rows


def _is_named(recipe: Recipe, table: TableSpec) -> bool:
    keys = [key for other in recipe.database.tables for key in other.foreign_keys]
    return any(key.references_table == table.name for key in keys)


def _orphans(table: TableSpec, typed: Mapping[str, pa.Table]) -> Iterator[RowFlag]:
    """Rows whose foreign key names no row that was given."""
    rows = typed.get(table.name)
    for key in table.foreign_keys:
        parent = typed.get(key.references_table)
        if rows is None or parent is None or not {*key.columns} <= {*rows.column_names}:
            continue
        if not {*key.references_columns} <= {*parent.column_names}:
            continue
        pairs = zip(key.columns, key.references_columns, strict=True)
        texts = [_alike(rows[mine], parent[theirs]) for mine, theirs in pairs]
        known = set(zip(*(named.to_pylist() for _, named in texts), strict=True))
        asked = zip(*(cells.to_pylist() for cells, _ in texts), strict=True)
        for row, cells in enumerate(asked):
            if None not in cells and cells not in known:
                told = ", ".join(map(str, cells))
                yield RowFlag(
                    table=table.name, row=row, flag="orphan", column=key.label, value=told
                )


def _alike(column: pa.ChunkedArray, named: pa.ChunkedArray) -> tuple[Any, Any]:
    """A key's cells and those it names as texts of one type."""
    if column.type != named.type:
        column = pc.cast(column, named.type, safe=False)
    return pc.cast(column, pa.string()), pc.cast(named, pa.string())


def _same_rows(frame: pa.Table, keys: pa.Table) -> Array:
    """Of each row the first with the same cells throughout; other rows are their own."""
    place_B = np.arange(len(frame))
    codes_B = codes_of([keys[name] for name in keys.column_names])
    _, first_B, counts_B = np.unique(codes_B, return_inverse=True, return_counts=True)
    seen: dict[tuple[Any, ...], int] = {}
    for row in np.flatnonzero((counts_B[first_B] > 1) & (codes_B >= 0)).tolist():
        cells = tuple(str(value) for value in frame.slice(row, 1).to_pylist()[0].values())
        place_B[row] = seen.setdefault(cells, row)
    return place_B


def flags_of_rows(flags: Sequence[RowFlag], table: str, rows: int) -> list[list[str]]:
    """By row of a table, its flags as ``flag:table.column``."""
    found: list[list[str]] = [[] for _ in range(rows)]
    for flag in flags:
        if flag.table == table:
            found[flag.row].append(f"{flag.flag}:{flag.table}.{flag.column}")
    return found
