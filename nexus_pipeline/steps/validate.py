"""Validated: raw rows that keep the contract; the others are kept apart with a reason.

``validated.<table>`` and ``quarantine.<table>`` together hold every raw row exactly once.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from nexus_model.schema import ConfigurationError, DataError, Record
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.column_types import ColumnContract
from nexus_pipeline.steps.contracts import Contract, pandera_schema, polars_type
from nexus_pipeline.steps.orphans import OrphanCount, count_orphans, orphan_rules
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.steps.row_rules import REASON, Rule, cast_sql, row_rules
from nexus_pipeline.steps.schema_failures import EMPTY, broken_rows, free_columns
from nexus_pipeline.storage import Store, replace_table
from nexus_pipeline.storage.names import literal, quote, quote_all, quote_table
from nexus_pipeline.storage.shared import rows_behind, show_rows
from nexus_pipeline.storage.tables import ascends, count_rows, table_columns

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

_BATCH_ROWS = 500_000


class RejectReason(Record):
    """Why rows were rejected, how many, and the first of them."""

    reason: str
    rows: int
    example: str


class ValidationReport(Record):
    """How many raw rows were accepted and why the others were not."""

    table: str
    raw_rows: int
    accepted: int
    quarantined: int
    reasons: tuple[RejectReason, ...] = ()
    orphans: tuple[OrphanCount, ...] = ()


def validate_table(project: ProjectConfig, contract: Contract, store: Store) -> ValidationReport:
    """Split ``raw.<table>`` into ``validated.<table>`` and ``quarantine.<table>``.

    Of rows with the same primary key the first acceptable one in file order stays. A row has one
    reason: the first that applies. Nothing is written when an error is raised.

    Raises:
        ConfigurationError: the project file changed its keys since the contract was derived.
        DataError: columns of the contract are gone, a foreign key's type is not the referenced
            key's, or there are orphans and the project file calls them an error.
    """
    _assert_current(project, contract)
    schema = pandera_schema(contract, unique=False)
    with store.write() as con:
        raw = table_columns(con, f"raw.{contract.table}")
        _assert_columns(contract, raw)
        orphans = count_orphans(con, contract)
        con.execute(f"CREATE TEMP TABLE rejected ({ROW} BIGINT, {REASON} VARCHAR)")
        rules = [*row_rules(contract, raw), *orphan_rules(contract)]
        _reject_by_rules(con, contract.table, rules)
        shown = {rule.reason: rule.columns for rule in rules}
        shown |= _reject_by_schema(con, contract, raw, schema)
        shown |= _reject_duplicates(con, contract)
        _write(con, contract, raw)
        return _report(con, contract, shown, orphans)


def _assert_current(project: ProjectConfig, contract: Contract) -> None:
    dataset = project[contract.table]
    promised = (contract.primary_key, contract.foreign_keys, contract.on_orphan)
    if promised != (dataset.primary_key, project.foreign_keys(contract.table), dataset.on_orphan):
        raise ConfigurationError(
            f"the keys of {contract.table!r} changed in the project file; derive its contract again"
        )


def _assert_columns(contract: Contract, raw: dict[str, str]) -> None:
    gone = [name for name in contract.names if name not in raw]
    if gone:
        raise DataError(f"columns {gone} are gone from the file", table=contract.table)


def _reject_by_rules(con: duckdb.DuckDBPyConnection, table: str, rules: Sequence[Rule]) -> None:
    if not rules:
        return
    cases = " ".join(f"WHEN {rule.broken} THEN {literal(rule.reason)}" for rule in rules)
    con.execute(
        f"INSERT INTO rejected SELECT {ROW}, reason FROM (SELECT {ROW}, CASE {cases} END AS reason "
        f"FROM {quote_table(f'raw.{table}')} AS child) WHERE reason IS NOT NULL"
    )


def _reject_by_schema(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    raw: dict[str, str],
    schema: "DataFrameSchema",
) -> dict[str, tuple[str, ...]]:
    """Reject what Pandera finds in the typed rows; returns the columns that show each reason."""
    source = f"{quote_table(f'raw.{contract.table}')} {_but_rejected(con)}"
    whole = con.sql(f"SELECT {_as_polars(contract.columns, raw)}, {ROW} FROM {source}")
    # A column that may hold anything of its type is looked at for its type alone.
    broken_rows(schema, pl.DataFrame(pl.from_arrow(whole.limit(0).to_arrow_table())))
    free = free_columns(schema)
    bound = [_as_polars([c], raw) for c in contract.columns if c.name not in free]
    rows = con.sql(f"SELECT {', '.join([*bound, ROW])} FROM {source}").to_arrow_reader(_BATCH_ROWS)
    schema = schema.remove_columns(sorted(free))
    broken = [broken_rows(schema, pl.DataFrame(pl.from_arrow(batch))) for batch in rows]
    found = pl.concat([EMPTY, *broken])
    con.register("broken_rows", found.to_arrow())
    con.execute(f"INSERT INTO rejected SELECT {ROW}, {REASON} FROM broken_rows")
    con.unregister("broken_rows")
    pairs = found.select(REASON, "column").unique().iter_rows()
    return {reason: (column,) for reason, column in pairs}


def _as_polars(columns: Sequence[ColumnContract], raw: dict[str, str]) -> str:
    return ", ".join(
        f"{_typed(column, raw)} AS {quote(column.name)}"
        if polars_type(column.type)
        else f"CAST({quote(column.name)} AS VARCHAR) AS {quote(column.name)}"
        for column in columns
    )


def _typed(column: ColumnContract, raw: dict[str, str]) -> str:
    return cast_sql(column.name, raw[column.name], column.type)


def _reject_duplicates(
    con: duckdb.DuckDBPyConnection, contract: Contract
) -> dict[str, tuple[str, ...]]:
    if not contract.primary_key:
        return {}
    reason = f"{'+'.join(contract.primary_key)} repeats the primary key of an earlier row"
    source = quote_table(f"raw.{contract.table}")
    if ascends(con, source, contract.primary_key):
        return {}
    con.execute(
        f"INSERT INTO rejected SELECT {ROW}, {literal(reason)} FROM (SELECT {ROW}, row_number() "
        f"OVER (PARTITION BY {quote_all(contract.primary_key)} ORDER BY {ROW}) AS seen "
        f"FROM {source} WHERE {ROW} NOT IN (SELECT {ROW} FROM rejected)) WHERE seen > 1"
    )
    return {reason: contract.primary_key}


def _write(con: duckdb.DuckDBPyConnection, contract: Contract, raw: dict[str, str]) -> None:
    table, source = contract.table, quote_table(f"raw.{contract.table}")
    promised = {column.name: column for column in contract.columns}
    stored = _same_rows(con, contract, raw)
    if stored is not None:
        show_rows(con, f"validated.{table}", stored, ["*"])
        nothing = f"SELECT *, NULL::VARCHAR AS {REASON} FROM {source} LIMIT 0"
        replace_table(con, f"quarantine.{table}", nothing)
        return
    typed = ", ".join(
        f"{_typed(promised[name], raw)} AS {quote(name)}" if name in promised else quote(name)
        for name in raw
    )
    replace_table(
        con,
        f"validated.{table}",
        f"SELECT {typed} FROM {source} {_but_rejected(con)}",
    )
    replace_table(
        con,
        f"quarantine.{table}",
        f"SELECT {quote_all(list(raw))}, {REASON} FROM {source} JOIN rejected USING ({ROW}) "
        f"ORDER BY {ROW}",
    )
    _assert_split(con, table)


def _same_rows(
    con: duckdb.DuckDBPyConnection, contract: Contract, raw: dict[str, str]
) -> str | None:
    """The stored rows of the raw table, if all of them are accepted as they are."""
    cast = any(raw[column.name] != column.type for column in contract.columns)
    return None if cast or _but_rejected(con) else rows_behind(con, f"raw.{contract.table}")


def _but_rejected(con: duckdb.DuckDBPyConnection) -> str:
    """The end of a SELECT of raw rows: in their order, as they are stored, without the rejected."""
    rejected = con.execute("SELECT count(*) FROM rejected").fetchall()[0][0]
    return f"WHERE {ROW} NOT IN (SELECT {ROW} FROM rejected) ORDER BY {ROW}" if rejected else ""


def _assert_split(con: duckdb.DuckDBPyConnection, table: str) -> None:
    sums = f"count(*), sum({ROW}), bit_xor(hash({ROW}))"
    parts = " UNION ALL ".join(
        f"SELECT {ROW} FROM {quote_table(f'{schema}.{table}')}"
        for schema in ("validated", "quarantine")
    )
    written = con.execute(f"SELECT {sums} FROM ({parts})").fetchall()[0]
    read = con.execute(f"SELECT {sums} FROM {quote_table(f'raw.{table}')}").fetchall()[0]
    assert written == read, f"{table}: {written[0]} rows written of {read[0]}, or others"


def _report(
    con: duckdb.DuckDBPyConnection,
    contract: Contract,
    shown: dict[str, tuple[str, ...]],
    orphans: tuple[OrphanCount, ...],
) -> ValidationReport:
    table = contract.table
    quarantine = quote_table(f"quarantine.{table}")
    counted = con.execute(
        f"SELECT {REASON}, count(*), min({ROW}) FROM {quarantine} GROUP BY ALL ORDER BY 2 DESC, 1"
    ).fetchall()
    return ValidationReport(
        table=table,
        raw_rows=count_rows(con, f"raw.{table}"),
        accepted=count_rows(con, f"validated.{table}"),
        quarantined=count_rows(con, f"quarantine.{table}"),
        reasons=tuple(
            RejectReason(
                reason=reason, rows=rows, example=_example(con, contract, row, shown[reason])
            )
            for reason, rows, row in counted
        ),
        orphans=orphans,
    )


def _example(
    con: duckdb.DuckDBPyConnection, contract: Contract, row: int, columns: tuple[str, ...]
) -> str:
    names = tuple(dict.fromkeys((*contract.primary_key, *columns)))
    texts = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in names)
    query = f"SELECT {texts} FROM {quote_table(f'quarantine.{contract.table}')} WHERE {ROW} = ?"
    values = con.execute(query, [row]).fetchall()[0]
    told = ", ".join(f"{name}={value!r}" for name, value in zip(names, values, strict=True))
    return f"row {row}: {told}"
