"""Facts of validated tables that proposals and checks both ask for."""

import datetime as dt

import duckdb

from nexus_model.schema import ForeignKey
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_columns, table_exists

_TIMES = ("DATE", "TIMESTAMP")


def table_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows of ``validated.<table>``."""
    return _count(con, f"validated.{table}")


def raw_rows(con: duckdb.DuckDBPyConnection, table: str) -> int:
    """Rows validation was given: accepted and quarantined."""
    return table_rows(con, table) + _count(con, f"quarantine.{table}")


def _count(con: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(con.execute(f"SELECT count(*) FROM {quote_table(table)}").fetchall()[0][0])


def orphan_condition(key: ForeignKey) -> str:
    """Whether a validated row, under the name ``child``, names no validated row."""
    pairs = zip(key.columns, key.references_columns, strict=True)
    same = " AND ".join(f"parent.{quote(to)} = child.{quote(name)}" for name, to in pairs)
    parents = quote_table(f"validated.{key.references_table}")
    return f"{_filled(key)} AND NOT EXISTS (SELECT 1 FROM {parents} AS parent WHERE {same})"


def _filled(key: ForeignKey) -> str:
    return " AND ".join(f"child.{quote(name)} IS NOT NULL" for name in key.columns)


def count_orphans(
    con: duckdb.DuckDBPyConnection, table: str, key: ForeignKey
) -> tuple[int, int, float]:
    """Rows that name no row, rows that name one or none, and the share."""
    lost, filled = con.execute(
        f"SELECT count(*) FILTER (lost), count(*) FILTER (filled) FROM (SELECT "
        f"{orphan_condition(key)} AS lost, {_filled(key)} AS filled "
        f"FROM {quote_table(f'validated.{table}')} AS child)"
    ).fetchall()[0]
    return lost, filled, lost / filled if filled else 0.0


def newest_row(
    con: duckdb.DuckDBPyConnection, table: str, column: str, now: dt.datetime
) -> dt.datetime | None:
    """The newest moment of a table that is not of the future; none if it has no such column."""
    kind = table_columns(con, f"validated.{table}").get(column, "")
    if not kind.startswith(_TIMES):
        return None
    query = (
        f"SELECT max(moment) FROM (SELECT CAST({quote(column)} AS TIMESTAMP) AS moment "
        f"FROM {quote_table(f'validated.{table}')}) WHERE moment <= ?"
    )
    found: dt.datetime | None = con.execute(query, [now]).fetchall()[0][0]
    return found


def database_newest(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, now: dt.datetime
) -> dt.datetime | None:
    """The newest moment of any table, by the time columns of the project file."""
    timed = [
        (dataset.table, dataset.time_column)
        for dataset in project.datasets
        if dataset.time_column and table_exists(con, f"validated.{dataset.table}")
    ]
    found = (newest_row(con, table, column, now) for table, column in timed)
    return max((moment for moment in found if moment is not None), default=None)
