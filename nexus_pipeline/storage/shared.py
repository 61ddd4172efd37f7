"""Rows that several stages show and that are stored once.

A stage's table whose rows are those of the stage before it, as they are, is a view of the same
rows. These lie in the schema ``stored_rows`` under a name that never comes again, so that a stage
made anew shows others, and nothing changes for those who show the former ones.
"""

import secrets
from collections.abc import Sequence

import duckdb

from nexus_pipeline.storage.names import literal, quote, quote_table, split_name

ROWS = "stored_rows"


def store_rows(con: duckdb.DuckDBPyConnection, table: str, select: str) -> int:
    """Make ``table`` a view of the rows of a SELECT, which are stored; their number."""
    stored = f"{ROWS}.{split_name(table)[1]}@{secrets.token_hex(6)}"
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {ROWS}")
    made = con.execute(f"CREATE TABLE {quote_table(stored)} AS {select}").fetchall()
    show_rows(con, table, stored, ["*"])
    return int(made[0][0])


def show_rows(
    con: duckdb.DuckDBPyConnection, table: str, stored: str, columns: Sequence[str]
) -> None:
    """Make ``table`` a view of stored rows; ``columns`` is SQL. Rows nobody shows are let go."""
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(split_name(table)[0])}")
    drop_relation(con, table)
    view = quote_table(table)
    con.execute(f"CREATE VIEW {view} AS SELECT {', '.join(columns)} FROM {quote_table(stored)}")
    con.execute(f"COMMENT ON VIEW {view} IS {literal(stored)}")
    sweep_rows(con)


def rows_behind(con: duckdb.DuckDBPyConnection, table: str) -> str | None:
    """The stored rows that ``table`` shows, None if it is a table of its own or is not there."""
    return _views(con).get(tuple(part.lower() for part in split_name(table)))


def relation_kind(con: duckdb.DuckDBPyConnection, table: str) -> str | None:
    """``VIEW`` or ``TABLE``: what ``schema.name`` stands for; None if it is not there."""
    found = con.execute(
        "SELECT table_type FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND lower(table_schema) = lower(?) AND lower(table_name) = lower(?)",
        list(split_name(table)),
    ).fetchall()
    return ("VIEW" if found[0][0] == "VIEW" else "TABLE") if found else None


def drop_relation(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Remove a table or a view if it is there."""
    kind = relation_kind(con, table)
    if kind is not None:
        con.execute(f"DROP {kind} {quote_table(table)}")


def sweep_rows(con: duckdb.DuckDBPyConnection) -> None:
    """Remove stored rows that no table shows."""
    shown = set(_views(con).values())
    found = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() "
        "AND schema_name = ?",
        [ROWS],
    ).fetchall()
    for (name,) in found:
        stored = f"{ROWS}.{name}"
        if stored not in shown:
            con.execute(f"DROP TABLE {quote_table(stored)}")


def _views(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, ...], str]:
    """By schema and name, the rows each view of stored rows shows."""
    found = con.execute(
        "SELECT lower(schema_name), lower(view_name), comment FROM duckdb_views() "
        "WHERE database_name = current_database() AND comment IS NOT NULL"
    ).fetchall()
    return {(schema, name): stored for schema, name, stored in found}
