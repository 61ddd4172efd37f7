"""Profile: how many rows a table has, and of each column the values, their number and range.

Tables of more rows than ``MOST_ROWS`` are profiled by a sample, which is said.
"""

from pathlib import Path

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.steps.column_types import ColumnContract, infer_columns, type_family
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_columns

MOST_ROWS = 1_000_000
SAMPLED = 200_000
_SAMPLES = 5
_LONGEST_SHOWN = 40


class ColumnProfile(Record):
    """One column's values; ``low``, ``high`` and ``samples`` are text, ``width`` the longest."""

    name: str
    kind: str
    values: int
    distinct: int
    low: str | None = None
    high: str | None = None
    width: int = 0
    samples: tuple[str, ...] = ()
    inferred: ColumnContract

    @property
    def family(self) -> str:
        """Types that compare with each other."""
        return type_family(self.kind)


class TableProfile(Record):
    """One table; ``relation`` is where its rows are, ``seen`` how many of them were profiled."""

    table: str
    file: Path
    rows: int
    seen: int
    relation: str
    columns: tuple[ColumnProfile, ...]

    def __getitem__(self, column: str) -> ColumnProfile:
        return next(known for known in self.columns if known.name == column)

    @property
    def is_sampled(self) -> bool:
        """Whether only a part of the rows was looked at."""
        return self.seen < self.rows

    def empty_share(self, column: ColumnProfile) -> float:
        """Share of rows without a value."""
        return 1 - column.values / self.seen


def profile_table(con: duckdb.DuckDBPyConnection, table: str, file: Path) -> TableProfile:
    """Profile ``raw.<table>``."""
    relation = f"raw.{table}"
    rows = int(con.execute(f"SELECT count(*) FROM {quote_table(relation)}").fetchall()[0][0])
    if rows > MOST_ROWS:
        relation = f"sampled.{table}"
        con.execute("CREATE SCHEMA IF NOT EXISTS sampled")
        con.execute(
            f"CREATE OR REPLACE TABLE {quote_table(relation)} AS SELECT * FROM "
            f"{quote_table(f'raw.{table}')} USING SAMPLE reservoir({SAMPLED} ROWS) REPEATABLE (0)"
        )
    contracts = {column.name: column for column in infer_columns(con, relation)}
    kinds = {n: kind for n, kind in table_columns(con, relation).items() if n != ROW}
    measures = ", ".join(part for name in kinds for part in _measures(name))
    seen, *found = con.execute(
        f"SELECT count(*), {measures} FROM {quote_table(relation)}"
    ).fetchall()[0]
    columns = []
    for position, (name, kind) in enumerate(kinds.items()):
        values, distinct, low, high, width = found[5 * position : 5 * position + 5]
        columns.append(
            ColumnProfile(
                name=name,
                kind=kind,
                values=values,
                distinct=distinct,
                low=low,
                high=high,
                width=width or 0,
                samples=_samples(con, relation, name),
                inferred=contracts[name],
            )
        )
    return TableProfile(
        table=table, file=file, rows=rows, seen=seen, relation=relation, columns=tuple(columns)
    )


def _measures(name: str) -> tuple[str, ...]:
    column = quote(name)
    text = f"CAST({column} AS VARCHAR)"
    return (
        f"count({column})",
        f"count(DISTINCT {column})",
        f"CAST(min({column}) AS VARCHAR)",
        f"CAST(max({column}) AS VARCHAR)",
        f"max(length({text}))",
    )


def _samples(con: duckdb.DuckDBPyConnection, relation: str, name: str) -> tuple[str, ...]:
    text = f"CAST({quote(name)} AS VARCHAR)"
    rows = con.execute(
        f"SELECT DISTINCT {text} FROM (SELECT {quote(name)} FROM {quote_table(relation)} "
        f"WHERE {quote(name)} IS NOT NULL LIMIT 50) ORDER BY 1 LIMIT {_SAMPLES}"
    ).fetchall()
    return tuple(row[0][:_LONGEST_SHOWN] for row in rows)
