"""What is done to one table on an open connection: replace, append, describe, fingerprint.

Columns are always named, never matched by position: a frame whose columns come in another order
fills the same columns.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import duckdb
import pyarrow as pa

from nexus_model.schema import DataError
from nexus_pipeline.storage.names import quote, quote_all, quote_table, split_name
from nexus_pipeline.storage.shared import drop_relation, relation_kind, rows_behind, sweep_rows

if TYPE_CHECKING:
    import polars as pl

Frame: TypeAlias = "pl.DataFrame | pa.Table | str"
_INCOMING = "_incoming_frame"


def table_exists(con: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table of this ``schema.name`` is there."""
    return relation_kind(con, table) is not None


def table_columns(con: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column names and DuckDB types in order.

    Raises:
        DataError: there is no such table.
    """
    if not table_exists(con, table):
        raise DataError("is not in the store; materialize it first", table=table)
    return query_columns(con, f"SELECT * FROM {quote_table(table)}", table)


def query_columns(con: duckdb.DuckDBPyConnection, select: str, table: str) -> dict[str, str]:
    """Names and types of a query's result; ``table`` is who is told when a name comes twice."""
    described = con.execute(f"DESCRIBE {select}").fetchall()
    names = [row[0] for row in described]
    seen = Counter(name.lower() for name in names)
    twice = sorted({name for name in names if seen[name.lower()] > 1})
    if twice:
        raise DataError(f"columns {twice} come more than once", table=table)
    return {row[0]: row[1] for row in described}


def count_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """Number of rows of a table."""
    table_columns(con, table)
    return int(con.execute(f"SELECT count(*) FROM {quote_table(table)}").fetchall()[0][0])


def replace_table(con: duckdb.DuckDBPyConnection, table: str, frame: Frame) -> int:
    """Make ``table`` exactly ``frame`` and return its rows; part of the open transaction."""
    with _as_select(con, table, frame) as select:
        query_columns(con, select, table)
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(split_name(table)[0])}")
        if rows_behind(con, table):
            drop_relation(con, table)
        made = con.execute(f"CREATE OR REPLACE TABLE {quote_table(table)} AS {select}").fetchall()
    sweep_rows(con)
    expected = int(made[0][0]) if isinstance(frame, str) else len(frame)
    return _assert_rows(con, table, expected)


def append_table(con: duckdb.DuckDBPyConnection, table: str, frame: Frame) -> int:
    """Add the rows of ``frame`` by column name and return the table's rows.

    Raises:
        DataError: columns are missing, unknown, or of a type that would lose values.
    """
    known = table_columns(con, table)
    before = count_rows(con, table)
    with _as_select(con, table, frame, known) as select:
        given = query_columns(con, select, table)
        _assert_same_columns(con, table, known, given)
        added = con.execute(f"INSERT INTO {quote_table(table)} BY NAME {select}").fetchall()
    return _assert_rows(con, table, before + int(added[0][0]))


def fingerprint_table(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """SHA-256 over column names, types and values in row order.

    DuckDB hashes each row to 64 bits from its values alone, so the answer does not depend on how
    the rows are laid out in the file.
    """
    columns = table_columns(con, table)
    digest = hashlib.sha256()
    for name, kind in columns.items():
        digest.update(f"{name}\0{kind}\0".encode())
    rows = con.sql(f"SELECT hash({quote_all(list(columns))}) AS row FROM {quote_table(table)}")
    for batch in rows.to_arrow_reader(65_536):
        digest.update(batch.column(0).to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()


@contextmanager
def _as_select(
    con: duckdb.DuckDBPyConnection,
    table: str,
    frame: Frame,
    known: Mapping[str, str] | None = None,
) -> Iterator[str]:
    if isinstance(frame, str):
        yield frame
        return
    arrow = frame if isinstance(frame, pa.Table) else frame.to_arrow()
    if not arrow.column_names:
        raise DataError("a table needs at least one column", table=table)
    con.register(_INCOMING, arrow)
    try:
        kinds = query_columns(con, f"SELECT * FROM {_INCOMING}", table)
        yield f"SELECT {_named(kinds, known or {})} FROM {_INCOMING}"
    finally:
        con.unregister(_INCOMING)


def _named(kinds: Mapping[str, str], known: Mapping[str, str]) -> str:
    # A column of nothing but nulls may have no type in Arrow and cannot be stored as it is.
    return ", ".join(
        f"CAST({quote(name)} AS {known.get(name, 'VARCHAR')}) AS {quote(name)}"
        if kind == '"NULL"'
        else quote(name)
        for name, kind in kinds.items()
    )


def _assert_same_columns(
    con: duckdb.DuckDBPyConnection, table: str, known: dict[str, str], given: dict[str, str]
) -> None:
    known_kinds = {name.lower(): kind for name, kind in known.items()}
    given_names = {name.lower() for name in given}
    missing = [name for name in known if name.lower() not in given_names]
    unknown = [name for name in given if name.lower() not in known_kinds]
    if missing or unknown:
        told = [f"missing {missing}"] * bool(missing) + [f"unknown {unknown}"] * bool(unknown)
        raise DataError(f"the rows do not have its columns: {', '.join(told)}", table=table)
    for name, kind in given.items():
        target = known_kinds[name.lower()]
        query = f"SELECT can_cast_implicitly(NULL::{kind}, NULL::{target})"
        if kind != target and not con.execute(query).fetchall()[0][0]:
            raise DataError(f"is {target} and cannot take {kind}", table=table, column=name)


def _assert_rows(con: duckdb.DuckDBPyConnection, table: str, expected: int) -> int:
    stored = count_rows(con, table)
    if stored != expected:
        raise DataError(f"{stored} rows were stored instead of {expected}", table=table)
    return stored


def drop_table(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Remove a table if it is there."""
    drop_relation(con, table)
    sweep_rows(con)


def ascends(con: duckdb.DuckDBPyConnection, relation: str, key: Sequence[str]) -> bool:
    """Whether each row of a relation (quoted) has a greater key than the row before it.

    A key that ascends is unique and nowhere empty.
    """
    own, former = (
        ", ".join(text.format(quote(name)) for name in key) for text in ("{}", "lag({}) OVER ()")
    )
    greater = f"row({own}) > row({former})" if len(key) > 1 else f"{own} > {former}"
    filled = " AND ".join(f"{quote(name)} IS NOT NULL" for name in key)
    found = con.execute(
        f"SELECT count(*) - count(*) FILTER (greater AND filled), "
        f"count(*) FILTER (first AND filled), count(*) FROM (SELECT {greater} AS greater, "
        f"{filled} AS filled, row_number() OVER () = 1 AS first FROM {relation})"
    ).fetchall()[0]
    return found in {(1, 1, found[2]), (0, 0, 0)}
