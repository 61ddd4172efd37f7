"""Stored: the small reference that assets exchange instead of data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from pydantic import Field

from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec, Record
from nexus_pipeline.storage import Store

Fact = str | int | float | bool


class Stored(Record):
    """Where something was put, the hash of its content, its rows, and what was measured.

    ``location`` is a table of the store (``aligned.races``) or a path under the project's root.
    """

    location: str
    sha256: str
    rows: int
    facts: dict[str, Fact] = Field(default_factory=dict)


def stored_table(store: Store, table: str, facts: dict[str, Fact] | None = None) -> Stored:
    """Reference to a table of the store."""
    return Stored(
        location=table,
        sha256=store.content_hash(table),
        rows=store.rows(table),
        facts=facts or {},
    )


@contextmanager
def aligned_view(store: Store, database: DatabaseSpec) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory database whose ``aligned`` schema shows the store's, with links beside rows.

    The store is attached for reading only, under its limits; temporary tables go to memory.
    """
    con = duckdb.connect(config={"threads": "2", **store.limits})
    try:
        store.attach(con, "stored")
        con.execute("create schema aligned")
        linked = {table.name: len(table.foreign_keys) for table in database.tables}
        found = con.sql(
            "select table_name from information_schema.tables "
            "where table_catalog = 'stored' and table_schema = 'aligned'"
        ).fetchall()
        for (name,) in found:
            source = f"stored.aligned.{quoted(name)}"
            links = f"stored.aligned.{quoted('links_' + name)}"
            if linked.get(name):
                keys = ", ".join(f"links._fk_{index}" for index in range(linked[name]))
                select = (
                    # Both are stored in row order: ``link_rows`` looks.
                    f"select own.*, {keys} from {source} as own positional join {links} as links"
                )
            else:
                select = f"select * from {source}"
            con.execute(f"create view aligned.{quoted(name)} as {select}")
        yield con
    finally:
        con.close()


def relative(path: Path, root: Path) -> str:
    """A path as it is written in records: relative to the project's root where it is below it."""
    path, root = path.resolve(), root.resolve()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
