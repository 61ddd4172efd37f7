"""Unexpected: where validated tables differ from what was accepted of them.

``nexusflow validate`` and the asset checks both ask here. Each problem names table and column, the
rows, five of them, and the line of the accepted file to change if the data is right.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from nexus_pipeline.expect.accepted import AcceptedFile, ColumnLine, Severity, ShareLine
from nexus_pipeline.expect.facts import (
    count_orphans,
    database_newest,
    newest_row,
    orphan_condition,
    raw_rows,
    table_rows,
)
from nexus_pipeline.expect.problem import Asked, Check, Unexpected
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.column_types import type_family
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.steps.row_rules import REASON
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import literal, quote, quote_all, quote_table
from nexus_pipeline.storage.tables import table_columns, table_exists


class _RowFact(NamedTuple):
    """Rows for which ``broken`` holds may be ``share`` of all."""

    check: Check
    severity: Severity
    column: str
    broken: str
    share: float
    kind: str
    advice: str


def find_unexpected(
    project: ProjectConfig,
    store: Store,
    accepted: Collection[AcceptedFile],
    checks: Collection[Check] = tuple(Check),
    now: dt.datetime | None = None,
) -> tuple[Unexpected, ...]:
    """Every problem of these checks, table by table; none where nothing was accepted."""
    if not accepted:
        return ()
    moment = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    asking = {
        Check.COLUMNS: _columns, Check.ROWS: _rows, Check.VALUES: _values,
        Check.NEWEST: _newest, Check.LINKS: _links,
    }  # fmt: skip
    with store.read() as con:
        return tuple(
            problem
            for file in accepted
            if table_exists(con, f"validated.{file.table}")
            for check in Check
            if check in checks
            for problem in asking[check](Asked(con, project, file, moment))
        )


def _columns(asked: Asked) -> Iterator[Unexpected]:
    """Columns gone, of another kind, empty for the first time, or new."""
    lines, check = asked.file.expected.columns, Check.COLUMNS
    kinds = asked.kinds()
    for name, line in lines.items():
        if name not in kinds:
            told = "remove the line, if the column is gone for good"
            severity = line.severity or Severity.ERROR
            yield asked.problem(
                check, severity, ("columns", name), "the column is gone", told, column=name
            )
        elif kinds[name] != line.type:
            same = type_family(kinds[name]) == type_family(line.type)
            severity = line.severity or (Severity.WARN if same else Severity.ERROR)
            yield asked.problem(
                check, severity, ("columns", name), f"is {kinds[name]}, was {line.type}",
                f"type: {kinds[name]}, if the column is right", column=name,
                found=(0, asked.examples((name,), f"{quote(name)} IS NOT NULL")),
            )  # fmt: skip
    for name in kinds:
        if name not in lines and lines:
            told = f"nexusflow expect --accept --table {asked.file.table}, if it may stay"
            yield asked.problem(
                check, Severity.WARN, ("columns",), "a new column", told, column=name
            )
    facts = [
        _RowFact(
            check, line.severity or Severity.ERROR, name, f"{quote(name)} IS NULL", 0.0,
            "are empty, none was", "nulls: the share that may be empty",
        )
        for name, line in lines.items()
        if name in kinds and not line.nulls
    ]  # fmt: skip
    yield from _broken(asked, facts)


def _rows(asked: Asked) -> Iterator[Unexpected]:
    """Fewer or more rows than there may be, and the share that was rejected."""
    expected, table = asked.file.expected, asked.file.table
    rows, read = table_rows(asked.con, table), raw_rows(asked.con, table)
    bounds = expected.rows
    if bounds and not bounds.least <= rows <= bounds.most:
        key, limit = ("least", bounds.least) if rows < bounds.least else ("most", bounds.most)
        yield asked.problem(
            Check.ROWS, bounds.severity or Severity.WARN, ("rows", key),
            f"{rows:,} rows, at {key} {limit:,} are expected", f"{key}: {rows}, if that is right",
            found=(rows, ()),
        )  # fmt: skip
    limits = expected.rejected
    if limits and read - rows > limits.most * read:
        yield _rejected(asked, limits, read - rows, read)


def _rejected(asked: Asked, limits: ShareLine, rows: int, read: int) -> Unexpected:
    quarantine = f"quarantine.{asked.file.table}"
    reason = asked.con.execute(
        f"SELECT {REASON} FROM {quote_table(quarantine)} GROUP BY 1 ORDER BY count(*) DESC, 1"
    ).fetchall()[0][0]
    column = str(reason).split(" ", maxsplit=1)[0]
    known = tuple(n for n in column.split("+") if n in table_columns(asked.con, quarantine))
    shown = asked.examples(known, f"{REASON} = {literal(reason)}", quote_table(quarantine))
    return asked.problem(
        Check.ROWS, limits.severity or Severity.WARN, ("rejected",),
        f"{rows:,} of {read:,} rows were rejected, most as {reason}",
        f"most: {rows / read:.2f}, if so many may be; see quarantine.{asked.file.table}",
        column=column if known else "", found=(rows, shown),
    )  # fmt: skip


def _values(asked: Asked) -> Iterator[Unexpected]:
    """Values out of range, unknown, empty too often; rows that agree where none may."""
    kinds, facts = asked.kinds(), []
    for name, line in asked.file.expected.columns.items():
        if name in kinds and type_family(kinds[name]) == type_family(line.type):
            facts += list(_value_facts(name, line, asked.now))
    yield from _broken(asked, facts)
    source = asked.source
    for place, unique in enumerate(asked.file.expected.unique):
        if not set(unique.columns) <= set(kinds):
            continue
        names = quote_all(unique.columns)
        filled = " AND ".join(f"{quote(name)} IS NOT NULL" for name in unique.columns)
        again = (
            f"{ROW} IN (SELECT {ROW} FROM {source} WHERE {filled} "
            f"QUALIFY row_number() OVER (PARTITION BY {names} ORDER BY {ROW}) > 1)"
        )
        if rows := asked.count(again):
            yield asked.problem(
                Check.VALUES, unique.severity or Severity.ERROR, ("unique", str(place)),
                f"{rows:,} rows repeat an earlier one", "remove the line, if rows may repeat",
                column="+".join(unique.columns),
                found=(rows, asked.examples(unique.columns, again)),
            )  # fmt: skip


def _value_facts(name: str, line: ColumnLine, now: dt.datetime) -> Iterator[_RowFact]:
    usual, column = line.severity or Severity.WARN, quote(name)
    if line.nulls:
        yield _RowFact(
            Check.VALUES, usual, name, f"{column} IS NULL", line.nulls,
            f"are empty, {line.nulls:.0%} may be", "nulls: the share that may be empty",
        )  # fmt: skip
    outside = []
    if line.least is not None:
        outside.append(f"{column} < {_bound(line.least)}")
    if line.most is not None:
        outside.append(f"{column} > {_bound(now if line.most == 'now' else line.most)}")
    if outside:
        bounds = f"{'any' if line.least is None else line.least} to " + str(
            "any" if line.most is None else line.most
        )
        yield _RowFact(
            Check.VALUES, usual, name, f"({' OR '.join(outside)})", 0.0,
            f"are outside {bounds}", "least or most, if such values are right",
        )  # fmt: skip
    if line.values:
        known = ", ".join(literal(value) for value in line.values)
        yield _RowFact(
            Check.VALUES, usual, name,
            f"({column} IS NOT NULL AND CAST({column} AS VARCHAR) NOT IN ({known}))", line.others,
            f"are none of the {len(line.values)} values", "values: add those that are right",
        )  # fmt: skip


def _bound(value: float | dt.date | str) -> str:
    """A number or a moment as SQL."""
    return f"TIMESTAMP {literal(str(value))}" if isinstance(value, dt.date) else str(value)


def _broken(asked: Asked, facts: Sequence[_RowFact]) -> Iterator[Unexpected]:
    """The facts that more rows break than may, all counted in one pass."""
    if not facts:
        return
    counted = ", ".join(f"count(*) FILTER ({fact.broken})" for fact in facts)
    source = asked.source
    total, *counts = asked.con.execute(f"SELECT count(*), {counted} FROM {source}").fetchall()[0]
    for fact, rows in zip(facts, counts, strict=True):
        if rows > fact.share * total:
            yield asked.problem(
                fact.check, fact.severity, ("columns", fact.column),
                f"{rows:,} of {total:,} rows {fact.kind}", fact.advice, column=fact.column,
                found=(rows, asked.examples((fact.column,), fact.broken)),
            )  # fmt: skip


def _newest(asked: Asked) -> Iterator[Unexpected]:
    """A table whose newest row is further behind than it may be."""
    line = asked.file.expected.newest
    if line is None:
        return
    newest = newest_row(asked.con, asked.file.table, line.column, asked.now)
    latest = asked.now
    if line.behind == "database":
        latest = database_newest(asked.con, asked.project, asked.now) or asked.now
    late = None if newest is None else (latest - newest).total_seconds() / 86_400
    if late is None or late > line.days:
        told = "no row has a time" if late is None else f"the newest row is {late:.0f} days behind"
        against = "the newest of the database" if line.behind == "database" else "the present"
        yield asked.problem(
            Check.NEWEST, line.severity or Severity.WARN, ("newest",),
            f"{told} {against}, {line.days} are expected", "days, if that is usual",
            column=line.column, found=(0, () if newest is None else (f"newest {newest}",)),
        )  # fmt: skip


def _links(asked: Asked) -> Iterator[Unexpected]:
    """More rows that name no row of another table than there may be."""
    lines, table = asked.file.expected.orphans, asked.file.table
    for key in asked.project.foreign_keys(table):
        there = table_exists(asked.con, f"validated.{key.references_table}")
        if key.label not in lines or not there or not set(key.columns) <= set(asked.kinds()):
            continue
        rows, filled, share = count_orphans(asked.con, table, key)
        line = lines[key.label]
        if share > line.most:
            yield asked.problem(
                Check.LINKS, line.severity or Severity.WARN, ("orphans", key.label),
                f"{rows:,} of {filled:,} rows name no row of {key.references_table}",
                f"most: {share:.2f}, if so many may be", column="+".join(key.columns),
                found=(rows, asked.examples(key.columns, orphan_condition(key))),
            )  # fmt: skip
