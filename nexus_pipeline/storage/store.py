"""The store: one DuckDB file whose tables are replaced whole, or not at all.

DuckDB lets one process write or many processes read. Whoever comes second waits in short random
steps, because doubling waits starve the unlucky one.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from nexus_model.schema import DataError, NexusError
from nexus_pipeline.storage.names import literal, quote, quote_table
from nexus_pipeline.storage.shared import rows_behind
from nexus_pipeline.storage.tables import (
    Frame,
    append_table,
    count_rows,
    drop_table,
    fingerprint_table,
    replace_table,
    table_columns,
    table_exists,
)

# By file, stored rows and columns; a name of stored rows never comes again.
_HASHES: dict[tuple[object, ...], str] = {}
_LOCKED = "Could not set lock"
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.02, 0.08


class StoreLockedError(NexusError, TimeoutError):
    """Somebody else kept the store open for longer than we were willing to wait."""


class Store:
    """Tables in one DuckDB file; every connection lives as long as its ``with`` block.

    Readers share the file with readers of other processes. A process that is writing reads
    through its own read-write connection, since DuckDB allows one mode per process and file.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        memory_limit: str | None = None,
        lock_timeout_s: float = 30.0,
    ) -> None:
        self.path = Path(path)
        self.lock_timeout_s = lock_timeout_s
        self._settings: dict[str, str | bool | int | float | list[str]] = {
            "preserve_insertion_order": True
        }
        if threads is not None:
            self._settings["threads"] = threads
        if memory_limit is not None:
            self._settings["memory_limit"] = memory_limit

    @property
    def limits(self) -> dict[str, str]:
        """Threads and memory a query may use, where chosen; beyond it is kept in ``*.tmp``."""
        chosen = ("threads", "memory_limit")
        limits = {name: str(self._settings[name]) for name in chosen if name in self._settings}
        return limits | {"temp_directory": f"{self.path}.tmp"}

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that sees one state of the store and cannot change it.

        Raises:
            DataError: nothing was stored yet.
            StoreLockedError: another process went on writing.
        """
        if not self.path.is_file():
            raise DataError("nothing was stored yet; materialize it first", table=str(self.path))
        connection = self._connect_to_read()
        try:
            connection.execute("BEGIN TRANSACTION READ ONLY")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def write(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in one transaction: all of the block's changes are kept, or none.

        Raises:
            DataError: the file cannot be opened.
            StoreLockedError: another connection stayed open.
        """
        connection = self._connect(read_only=False)
        try:
            connection.execute("BEGIN TRANSACTION")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def replace(self, table: str, frame: Frame) -> int:
        """Make ``table`` (``schema.name``) exactly this frame or SELECT; return its rows."""
        with self.write() as con:
            return replace_table(con, table, frame)

    def append(self, table: str, frame: Frame) -> int:
        """Add rows by column name; return the rows the table then has."""
        with self.write() as con:
            return append_table(con, table, frame)

    def drop(self, table: str) -> None:
        """Remove a table if it is there."""
        with self.write() as con:
            drop_table(con, table)

    def frame(self, table: str) -> pa.Table:
        """All rows of a table, in order."""
        with self.read() as con:
            table_columns(con, table)
            return con.sql(f"SELECT * FROM {quote_table(table)}").to_arrow_table()

    def rows(self, table: str) -> int:
        """Number of rows of a table."""
        with self.read() as con:
            return count_rows(con, table)

    def columns(self, table: str) -> dict[str, str]:
        """Column names and DuckDB types of a table, in order."""
        with self.read() as con:
            return table_columns(con, table)

    def content_hash(self, table: str) -> str:
        """SHA-256 over a table's column names, types and values in row order.

        Rows that are stored once are read once, however many tables show these columns of them.
        """
        with self.read() as con:
            behind = rows_behind(con, table)
            if behind is None:
                return fingerprint_table(con, table)
            shown = (str(self.path), behind, *table_columns(con, table).items())
            if shown not in _HASHES:
                _HASHES[shown] = fingerprint_table(con, table)
            return _HASHES[shown]

    def exists(self, table: str) -> bool:
        """Whether a table was stored."""
        if not self.path.is_file():
            return False
        with self.read() as con:
            return table_exists(con, table)

    def _connect_to_read(self) -> duckdb.DuckDBPyConnection:
        try:
            return self._connect(read_only=True)
        except duckdb.ConnectionException:
            return self._connect(read_only=False)

    def attach(self, connection: duckdb.DuckDBPyConnection, name: str) -> None:
        """Show the store, for reading only, to a connection of another database.

        Raises:
            DataError: the file cannot be opened.
            StoreLockedError: another process went on writing.
        """
        asked = f"ATTACH {literal(str(self.path))} AS {quote(name)} (READ_ONLY)"
        self._when_free(lambda: connection.execute(asked), read_only=False)

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        def connect() -> duckdb.DuckDBPyConnection:
            return duckdb.connect(str(self.path), read_only, self._settings)

        connection = self._when_free(connect, read_only=read_only)
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    def _when_free(
        self, open_: Callable[[], duckdb.DuckDBPyConnection], *, read_only: bool
    ) -> duckdb.DuckDBPyConnection:
        give_up_at = time.monotonic() + self.lock_timeout_s
        while True:
            held_by: duckdb.Error
            try:
                return open_()
            except duckdb.IOException as error:
                if _LOCKED not in str(error):
                    told = str(error).splitlines()[0]
                    told += "; if it is damaged, remove it: everything in it is made again"
                    raise DataError(f"cannot be opened: {told}", table=str(self.path)) from error
                held_by = error
            except duckdb.ConnectionException as error:
                if read_only:
                    raise
                held_by = error
            if time.monotonic() >= give_up_at:
                raise self._locked(held_by) from held_by
            time.sleep(_SHORTEST_WAIT_S + _jitter() * (_LONGEST_WAIT_S - _SHORTEST_WAIT_S))

    def _locked(self, error: duckdb.Error) -> StoreLockedError:
        holder = (
            "another process (a notebook or the DuckDB shell, perhaps)"
            if _LOCKED in str(error)
            else "a connection of this process; close readers before writing"
        )
        told = str(error).splitlines()[0]
        return StoreLockedError(
            f"{self.path} is held by {holder}; waited {self.lock_timeout_s:g} s: {told}"
        )


def _jitter() -> float:
    return secrets.randbelow(1000) / 1000
