"""The values of key-like columns, each once and in one spelling, to see which contain which.

A whole number is spelled the same whether it came as 12, 12.0 or '12'.
"""

from collections.abc import Sequence

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.propose.profile import ColumnProfile, TableProfile
from nexus_pipeline.storage.names import quote, quote_table

_WIDEST = 64


class Contained(Record):
    """How much of a column's values another has, and how much of the other's are used."""

    share: float
    used: float
    rows_share: float


def may_be_key(column: ColumnProfile) -> bool:
    """Whether a column's type and width allow a key."""
    if column.values == 0 or column.width > _WIDEST:
        return False
    if column.family == "number":
        return not column.kind.startswith(("FLOAT", "DECIMAL")) and all(
            value.endswith(".0") or "." not in value
            for value in (*column.samples, column.low or "")
        )
    return column.family in {"text", "uuid", "time"}


def spelled(column: ColumnProfile, *, plain: bool = True) -> str:
    """SQL of a column's values in the one spelling; ``plain`` False also trims and unpads text."""
    name = quote(column.name)
    if column.family == "number":
        return f"CAST(TRY_CAST({name} AS HUGEINT) AS VARCHAR)"
    text = f"CAST({name} AS VARCHAR)"
    return text if plain else f"regexp_replace(trim({text}), '^(-?\\d+)\\.0+$', '\\1')"


def keep_values(con: duckdb.DuckDBPyConnection, table: TableProfile, columns: Sequence[str]) -> str:
    """A temporary table of the different values of columns, and how many rows have each."""
    kept = f"values {table.table} {' '.join(columns)}"
    found = con.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE temporary AND table_name = ?", [kept]
    ).fetchall()[0][0]
    if not found:
        texts = [spelled(table[name], plain=False) for name in columns]
        parts = ", ".join(f"{text} AS k{place}" for place, text in enumerate(texts))
        filled = " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
        con.execute(
            f"CREATE TEMP TABLE {quote(kept)} AS SELECT {parts}, count(*) AS rows FROM "
            f"{quote_table(f'raw.{table.table}')} WHERE {filled} GROUP BY ALL"
        )
    return quote(kept)


def contained(
    con: duckdb.DuckDBPyConnection,
    child: tuple[TableProfile, Sequence[str]],
    parent: tuple[TableProfile, Sequence[str]],
) -> Contained:
    """How much of the child's values the parent has."""
    mine, theirs = keep_values(con, *child), keep_values(con, *parent)
    on = " AND ".join(f"c.k{place} = p.k{place}" for place in range(len(child[1])))
    found = con.execute(
        f"SELECT count(*), count(*) FILTER (has), coalesce(sum(rows), 0), "
        f"coalesce(sum(rows) FILTER (has), 0) FROM "
        f"(SELECT c.rows, EXISTS (SELECT 1 FROM {theirs} AS p WHERE {on}) AS has "
        f"FROM {mine} AS c)"
    ).fetchall()[0]
    others = con.execute(f"SELECT count(*) FROM {theirs}").fetchall()[0][0]
    return Contained(
        share=found[1] / max(1, found[0]),
        used=found[1] / max(1, others),
        rows_share=float(found[3]) / max(1.0, float(found[2])),
    )
