"""Problem: one difference from an accepted file, and the open tables it is looked for in."""

import datetime as dt
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.expect.accepted import AcceptedFile, Severity
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_columns

_EXAMPLES = 5
_LONGEST = 60


class Check(StrEnum):
    """What is looked at; the first three of one table, the others of all together."""

    COLUMNS = "columns_are_as_accepted"
    ROWS = "rows_are_as_many_as_accepted"
    VALUES = "values_are_as_accepted"
    NEWEST = "newest_rows_are_as_accepted"
    LINKS = "links_are_as_accepted"


OF_A_TABLE = (Check.COLUMNS, Check.ROWS, Check.VALUES)
OF_ALL = (Check.NEWEST, Check.LINKS)


class Unexpected(Record):
    """One problem; ``file`` and ``line`` are what to change if the data is right."""

    check: Check
    severity: Severity
    table: str
    column: str
    rows: int
    kind: str
    examples: tuple[str, ...]
    file: str
    line: int
    advice: str

    def told(self) -> str:
        """In words, on two lines."""
        where = f"{self.table}.{self.column}" if self.column else self.table
        shown = f"; such as {', '.join(self.examples)}" if self.examples else ""
        stops = "stops training" if self.severity is Severity.ERROR else "a warning"
        return f"{where}: {self.kind}{shown} ({stops})\n  {self.file}:{self.line}: {self.advice}"


class Asked(NamedTuple):
    """An open store and the accepted file of one table in it."""

    con: duckdb.DuckDBPyConnection
    project: ProjectConfig
    file: AcceptedFile
    now: dt.datetime

    def problem(
        self,
        check: Check,
        usual: Severity,
        keys: Sequence[str],
        kind: str,
        advice: str,
        *,
        column: str = "",
        found: tuple[int, tuple[str, ...]] = (0, ()),
    ) -> Unexpected:
        """A problem said at ``keys``; ``found`` are its rows and five of them."""
        path = self.file.path
        below = path.is_relative_to(self.project.root)
        rows, examples = found
        return Unexpected(
            check=check,
            severity=usual,
            table=self.file.table,
            column=column,
            rows=rows,
            kind=kind,
            examples=examples,
            file=(path.relative_to(self.project.root) if below else path).as_posix(),
            line=self.file.line(*keys),
            advice=advice,
        )

    @property
    def source(self) -> str:
        """The validated table as SQL text."""
        return quote_table(f"validated.{self.file.table}")

    def kinds(self) -> dict[str, str]:
        """The table's columns and their types."""
        kinds = table_columns(self.con, f"validated.{self.file.table}")
        return {name: kind for name, kind in kinds.items() if name != ROW}

    def count(self, condition: str) -> int:
        """Rows for which a condition holds."""
        query = f"SELECT count(*) FROM {self.source} WHERE {condition}"
        return int(self.con.execute(query).fetchall()[0][0])

    def examples(self, columns: Sequence[str], condition: str, source: str = "") -> tuple[str, ...]:
        """Five rows counted from 0, with what the columns hold there."""
        texts = "".join(f", CAST({quote(name)} AS VARCHAR)" for name in columns)
        query = (
            f"SELECT {ROW}{texts} FROM {source or self.source} AS child "
            f"WHERE {condition} ORDER BY {ROW} LIMIT {_EXAMPLES}"
        )
        shown = []
        for row, *values in self.con.execute(query).fetchall():
            cells = ", ".join(f"{n}={v!r}" for n, v in zip(columns, values, strict=True))
            shown.append(f"row {row}: {cells}"[:_LONGEST])
        return tuple(shown)
