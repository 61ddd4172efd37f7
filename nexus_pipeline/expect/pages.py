"""Pages: the accepted files as Great Expectations suites, run once for the project, with Data Docs.

A suite per table looks at its rows, at most ``MOST_ROWS`` of them drawn evenly. What must be
counted over all rows, such as repeated keys, is counted in DuckDB and handed over as one row of
figures: the suite ``measured``. The pages are to be read; what stops training is looked at in SQL.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.expect.accepted import AcceptedFile, ColumnLine
from nexus_pipeline.expect.facts import (
    count_orphans,
    database_newest,
    newest_row,
    raw_rows,
    table_rows,
)
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.column_types import type_family
from nexus_pipeline.steps.suite import build_pages, great_expectations, open_context, told
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import quote, quote_all, quote_table
from nexus_pipeline.storage.tables import table_columns

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_ROWS = 20_000
MEASURED = "measured"


class PagesReport(Record):
    """Expectations run and failed, the rows looked at of tables with more, and the first page."""

    expectations: int
    failed: tuple[str, ...]
    looked_at: dict[str, str]
    docs: Path


class _Measured(NamedTuple):
    """One figure of all rows of a table, and its bounds."""

    name: str
    value: float
    least: float | None
    most: float | None


def publish(
    project: ProjectConfig, store: Store, accepted: Sequence[AcceptedFile], folder: Path
) -> PagesReport:
    """Run every suite and build the pages in ``folder``."""
    gx = great_expectations()
    context = open_context(gx, folder)
    source = context.data_sources.add_or_update_pandas("store")
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    runs, looked_at = [], {}
    with store.read() as con:
        figures: list[_Measured] = []
        for file in accepted:
            kinds = table_columns(con, f"validated.{file.table}")
            lines = {n: line for n, line in file.expected.columns.items() if n in kinds}
            frame = _frame(con, file.table, lines)
            rows = table_rows(con, file.table)
            if len(frame) < rows:
                looked_at[file.table] = f"{len(frame):,} of {rows:,} rows"
            expected = list(_expectations(gx.expectations, file, lines, now))
            runs.append((file.table, expected, frame))
            figures += _measured(con, project, file, now)
    runs.append((MEASURED, list(_bounds(gx.expectations, figures)), _row(figures)))
    results = [
        (name, result)
        for name, expected, frame in runs
        if expected
        for result in _run(gx, context, source, name, expected, frame)
    ]
    failed = tuple(f"{name}: {found.expectation}" for name, found in results if not found.success)
    return PagesReport(
        expectations=len(results), failed=failed, looked_at=looked_at, docs=build_pages(context)
    )


def _frame(con: duckdb.DuckDBPyConnection, table: str, lines: dict[str, ColumnLine]) -> "DataFrame":
    """The rows, categories as text and numbers as floats, whatever their types."""
    parts = [f"{_shown(name, line)} AS {quote(name)}" for name, line in lines.items()]
    sample = f"USING SAMPLE reservoir({MOST_ROWS} ROWS) REPEATABLE (0)"
    rows = quote_table(f"validated.{table}")
    return con.sql(f"SELECT {', '.join(parts) or '1 AS one'} FROM (FROM {rows} {sample})").df()


def _shown(name: str, line: ColumnLine) -> str:
    if line.values:
        return f"CAST({quote(name)} AS VARCHAR)"
    bounded = line.least is not None or line.most is not None
    match type_family(line.type):
        case "number" if bounded:
            return f"TRY_CAST({quote(name)} AS DOUBLE)"
        case "time" if bounded:
            return f"TRY_CAST({quote(name)} AS TIMESTAMP)"
        case _:
            return quote(name)


def _expectations(
    gxe: Any, file: AcceptedFile, lines: dict[str, ColumnLine], now: dt.datetime
) -> Iterator[Any]:
    every = list(file.expected.columns)
    if every:
        yield gxe.ExpectTableColumnsToMatchSet(column_set=every, exact_match=False)
    for name, line in lines.items():
        yield gxe.ExpectColumnValuesToNotBeNull(column=name, mostly=1 - line.nulls)
        if line.values:
            yield gxe.ExpectColumnValuesToBeInSet(
                column=name, value_set=list(line.values), mostly=1 - line.others
            )
        if line.least is not None or line.most is not None:
            most = now if line.most == "now" else _moment(line.most)
            yield gxe.ExpectColumnValuesToBeBetween(
                column=name, min_value=_moment(line.least), max_value=most
            )


def _moment(value: Any) -> Any:
    return dt.datetime.combine(value, dt.time()) if isinstance(value, dt.date) else value


def _measured(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, file: AcceptedFile, now: dt.datetime
) -> Iterator[_Measured]:
    expected, table = file.expected, file.table
    rows, read = table_rows(con, table), raw_rows(con, table)
    if expected.rows:
        yield _Measured(f"{table}: rows", rows, expected.rows.least, expected.rows.most)
    if expected.rejected:
        share = (read - rows) / read if read else 0.0
        yield _Measured(f"{table}: share rejected", share, None, expected.rejected.most)
    kinds = table_columns(con, f"validated.{table}")
    for unique in expected.unique:
        if set(unique.columns) <= set(kinds):
            names = quote_all(unique.columns)
            different = con.execute(
                f"SELECT count(*) FROM (SELECT DISTINCT {names} FROM "
                f"{quote_table(f'validated.{table}')})"
            ).fetchall()[0][0]
            label = "+".join(unique.columns)
            yield _Measured(f"{table}: repeated {label}", rows - different, None, 0)
    for key in project.foreign_keys(table):
        line = expected.orphans.get(key.label)
        if line and set(key.columns) <= set(kinds):
            share = count_orphans(con, table, key)[2]
            yield _Measured(f"{table}: orphans {key.label}", share, None, line.most)
    newest = expected.newest
    if newest:
        found = newest_row(con, table, newest.column, now)
        latest = database_newest(con, project, now) if newest.behind == "database" else now
        late = (latest - found).total_seconds() / 86_400 if latest and found else float("inf")
        yield _Measured(f"{table}: days behind", late, None, newest.days)


def _bounds(gxe: Any, figures: Sequence[_Measured]) -> Iterator[Any]:
    for figure in figures:
        yield gxe.ExpectColumnValuesToBeBetween(
            column=figure.name, min_value=figure.least, max_value=figure.most
        )


def _row(figures: Sequence[_Measured]) -> "DataFrame":
    import pandas as pd

    return pd.DataFrame({figure.name: [float(figure.value)] for figure in figures})


def _run(
    gx: Any, context: Any, source: Any, name: str, expected: list[Any], frame: "DataFrame"
) -> Iterator[Any]:
    asset = source.add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe("all")
    suite = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=expected))
    validation = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=name, data=batch, suite=suite)
    )
    result = validation.run(batch_parameters={"dataframe": frame})
    yield from (told(found) for found in result.results)
