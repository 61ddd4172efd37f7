"""The store as a Dagster resource: Dagster's own DuckDB resource, with our way of writing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from nexus_model.schema import ConfigurationError
from nexus_pipeline.storage.store import Store


class StoreResource(DuckDBResource):
    """One DuckDB file; ``store()`` gives atomic, named, locking-aware access to it."""

    threads: int | None = Field(
        default=None, description="threads a query may use; all cores if unset"
    )
    memory_limit: str | None = Field(
        default=None, description="such as 4GB; DuckDB's default if unset"
    )
    lock_timeout_s: float = Field(
        default=30.0, description="seconds to wait while another process writes"
    )

    def store(self) -> Store:
        """The store behind this resource; its folder is made when it is missing.

        Raises:
            ConfigurationError: ``connection_config`` is set; all connections of a process must
                be alike, so only ``threads`` and ``memory_limit`` can be chosen.
        """
        if self.connection_config:
            raise ConfigurationError(
                f"connection_config {self.connection_config} is not taken; "
                "set threads or memory_limit"
            )
        path = Path(self.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        return Store(
            path,
            threads=self.threads,
            memory_limit=self.memory_limit,
            lock_timeout_s=self.lock_timeout_s,
        )

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in one transaction, closed whatever happens inside."""
        with self.store().write() as connection:
            yield connection
