"""SQL checks: a fact is a file whose SELECT finds the rows that contradict it."""

from collections.abc import Collection
from pathlib import Path

import duckdb

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.sql.model import resolve
from nexus_pipeline.sql.statement import parse_statement, read_statement, tables_read
from nexus_pipeline.storage import Store

_EXAMPLES = 5


class SqlCheck(Record):
    """A check, named after the fact it asserts."""

    name: str
    path: Path
    sql: str
    reads: tuple[str, ...]


class CheckResult(Record):
    """How many rows contradict the fact, and the first of them."""

    name: str
    failures: int
    examples: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no row contradicts the fact."""
        return self.failures == 0


def load_checks(
    folder: Path, *, known_tables: Collection[str] | None = None
) -> dict[str, SqlCheck]:
    """Every ``*.sql`` of a folder by name; a folder that is not there has no checks.

    Raises:
        ConfigurationError: a file is not one SELECT, or reads a table that is not known.
    """
    return {path.stem: _load(path, known_tables) for path in sorted(folder.glob("*.sql"))}


def run_check(store: Store, check: SqlCheck) -> CheckResult:
    """Run a check; it passes when it returns no rows.

    Raises:
        ConfigurationError: DuckDB cannot run the text; names the file.
    """
    with store.read() as con:
        try:
            failures = con.execute(f"SELECT count(*) FROM (\n{check.sql}\n)").fetchall()[0][0]
            found = con.sql(f"SELECT * FROM (\n{check.sql}\n) LIMIT {_EXAMPLES}")
            names, rows = found.columns, found.fetchall()
        except duckdb.Error as error:
            raise ConfigurationError(f"{check.path}: {error}") from error
    return CheckResult(
        name=check.name, failures=failures, examples=tuple(_told(names, row) for row in rows)
    )


def _load(path: Path, known: Collection[str] | None) -> SqlCheck:
    sql = read_statement(path)
    reads = tables_read(parse_statement(sql))
    resolved = reads if known is None else resolve(reads, known, path)
    return SqlCheck(name=path.stem, path=path, sql=sql, reads=resolved)


def _told(names: list[str], row: tuple[object, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
