"""Proposed: what the validated tables are like now, with margins, and the reason of every line."""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import duckdb

from nexus_model.schema import ConfigurationError, DataError, SemanticType
from nexus_pipeline.expect.accepted import (
    NOW,
    ColumnLine,
    Expected,
    NewestLine,
    RowsLine,
    ShareLine,
    UniqueLine,
)
from nexus_pipeline.expect.facts import (
    count_orphans,
    database_newest,
    newest_row,
    raw_rows,
    table_rows,
)
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.validation import ValidationConfig
from nexus_pipeline.steps.column_types import INTEGERS, ColumnContract, ColumnRole, type_family
from nexus_pipeline.steps.contracts import Contract, derive_contract
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_exists

_FEW_ROWS = 10
_ROWS_OF_A_KEY = 100
_REPEATS_OF_A_CATEGORY = 5
_SHORTEST_SILENCE_DAYS = 7


class Proposal(NamedTuple):
    """What a table is expected to be, and why: a reason for each nested key."""

    table: str
    expected: Expected
    reasons: Mapping[tuple[str, ...], str]


class _Values(NamedTuple):
    """Counts over the values of one column; ``least`` and ``most`` of numbers and moments."""

    nulls: int
    distinct: int
    least: Any
    most: Any


def propose(
    project: ProjectConfig, store: Store, only: str | None = None, now: dt.datetime | None = None
) -> tuple[Proposal, ...]:
    """A proposal for every validated table, or for ``only`` one.

    Raises:
        ConfigurationError: there is no such table.
        DataError: a table was not validated yet.
    """
    tables = [dataset.table for dataset in project.datasets if only in {None, dataset.table}]
    if not tables:
        known = ", ".join(dataset.table for dataset in project.datasets)
        raise ConfigurationError(f"no table {only!r}; tables are {known}")
    contracts = [derive_contract(project, table, store) for table in tables]
    moment = now or dt.datetime.now(dt.UTC).replace(tzinfo=None)
    with store.read() as con:
        for contract in contracts:
            if not table_exists(con, f"validated.{contract.table}"):
                raise DataError(
                    "is not validated yet; run nexusflow validate", table=contract.table
                )
        return tuple(_proposal(con, project, contract, moment) for contract in contracts)


def _proposal(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, contract: Contract, now: dt.datetime
) -> Proposal:
    settings, table = project.validation, contract.table
    rows = table_rows(con, table)
    found = {column.name: _values(con, table, column) for column in contract.columns}
    reasons: dict[tuple[str, ...], str] = {}
    columns = {}
    for column in contract.columns:
        line, why = _column(con, table, column, found[column.name], rows, settings, now)
        columns[column.name], reasons["columns", column.name] = line, why
    orphans = {}
    for key in contract.foreign_keys:
        lost, filled, _ = count_orphans(con, table, key)
        orphans[key.label] = ShareLine(most=_roomier(lost / filled if filled else 0.0))
        reasons["orphans", key.label] = f"{lost} of {filled} now"
    unique = tuple(_unique(contract, found, rows))
    read = raw_rows(con, table)
    reasons["rows",] = f"{rows} now"
    reasons["rejected",] = f"{read - rows} of {read} raw rows now"
    newest = _newest(con, project, contract, now, reasons)
    expected = Expected(
        rows=_rows(rows, settings.volume_margin),
        rejected=ShareLine(most=_roomier((read - rows) / read if read else 0.0)),
        newest=newest,
        columns=columns,
        unique=unique,
        orphans=orphans,
    )
    return Proposal(table, expected, reasons)


def _rows(rows: int, margin: float) -> RowsLine:
    most = math.ceil(rows * (1 + margin)) + _FEW_ROWS
    return RowsLine(least=max(0, math.floor(rows / (1 + margin)) - _FEW_ROWS), most=most)


def _roomier(share: float) -> float:
    """A share with room above it: half as much again, a hundredth at least.

    >>> _roomier(0.0), _roomier(0.2)
    (0.01, 0.3)
    """
    return min(1.0, round(share + max(0.01, share / 2), 2))


def _values(con: duckdb.DuckDBPyConnection, table: str, column: ColumnContract) -> _Values:
    name = quote(column.name)
    bounds = "NULL, NULL"
    if type_family(column.type) in {"number", "time"}:
        finite = f"FILTER (isfinite({name}))" if column.type in {"FLOAT", "DOUBLE"} else ""
        bounds = f"min({name}) {finite}, max({name}) {finite}"
    query = (
        f"SELECT count(*) - count({name}), count(DISTINCT {name}), {bounds} "
        f"FROM {quote_table(f'validated.{table}')}"
    )
    return _Values(*con.execute(query).fetchall()[0])


def _column(
    con: duckdb.DuckDBPyConnection,
    table: str,
    column: ColumnContract,
    found: _Values,
    rows: int,
    settings: ValidationConfig,
    now: dt.datetime,
) -> tuple[ColumnLine, str]:
    nulls = _roomier(found.nulls / rows) if found.nulls else 0.0
    line, why = ColumnLine(type=column.type, nulls=nulls), []
    if found.nulls:
        why.append(f"empty in {found.nulls} of {rows} rows")
    family, free = type_family(column.type), column.role is not ColumnRole.KEY
    if free and _is_closed(column, found, rows, settings):
        line = line.model_copy(update={"values": _texts(con, table, column.name), "others": 0.01})
        why.append(f"{found.distinct} different values")
    elif free and family == "time" and found.most is not None:
        line = line.model_copy(update=_moments(found, settings.range_margin, now))
        why.append(f"from {_day(found.least)} to {_day(found.most)}")
    elif free and family == "number" and _has_range(column, found):
        whole = column.type in INTEGERS
        line = line.model_copy(update=_range(found, settings.range_margin, whole=whole))
        why.append(f"from {float(found.least):g} to {float(found.most):g}")
    return line, "; ".join((*why, column.reason))


def _is_closed(
    column: ColumnContract, found: _Values, rows: int, settings: ValidationConfig
) -> bool:
    """Whether a category's values have repeated so often that a new one is news."""
    named = column.semantic is SemanticType.CATEGORICAL or column.role is ColumnRole.IGNORED
    few = 0 < found.distinct <= settings.most_values and type_family(column.type) != "time"
    return named and few and rows - found.nulls >= _REPEATS_OF_A_CATEGORY * found.distinct


def _has_range(column: ColumnContract, found: _Values) -> bool:
    """Identifiers and categories have no order that means anything."""
    return found.most is not None and (
        column.semantic is SemanticType.NUMERICAL or column.role is ColumnRole.IGNORED
    )


def _texts(con: duckdb.DuckDBPyConnection, table: str, column: str) -> tuple[str, ...]:
    query = (
        f"SELECT DISTINCT CAST({quote(column)} AS VARCHAR) AS v "
        f"FROM {quote_table(f'validated.{table}')} WHERE v IS NOT NULL ORDER BY v"
    )
    return tuple(row[0] for row in con.execute(query).fetchall())


def _range(found: _Values, margin: float, *, whole: bool) -> dict[str, int | float]:
    """The range with its margin; numbers that are never negative are not expected to be."""
    least, most = float(found.least), float(found.most)
    room = margin * ((most - least) or max(abs(most), 1.0))
    low = max(least - room, 0.0) if least >= 0 else least - room
    bounds = {"least": _plain(low, math.floor), "most": _plain(most + room, math.ceil)}
    outward = {"least": math.floor, "most": math.ceil}
    return {key: outward[key](bound) for key, bound in bounds.items()} if whole else bounds


def _plain(value: float, outward: Any) -> int | float:
    """Three digits of a number, rounded away from the range; whole if it is large.

    >>> _plain(1234.5, math.ceil), _plain(0.12345, math.floor)
    (1240, 0.123)
    """
    if value == 0:
        return 0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    rounded = outward(value / unit) * unit
    return round(rounded) if unit >= 1 else float(f"{rounded:.6g}")


def _moments(found: _Values, margin: float, now: dt.datetime) -> dict[str, Any]:
    """No row from before the history began, by its margin; none of the future if none is."""
    least, most = _day(found.least), _day(found.most)
    room = dt.timedelta(days=math.ceil(margin * max((most - least).days, 1)))
    first = dt.date.min if least - dt.date.min < room else least - room
    return {"least": first, "most": NOW if most <= now.date() else most + room}


def _day(moment: dt.date | dt.datetime) -> dt.date:
    return moment.date() if isinstance(moment, dt.datetime) else moment


def _unique(contract: Contract, found: Mapping[str, _Values], rows: int) -> Iterator[UniqueLine]:
    """The primary key, and every other column that names each row of many."""
    if contract.primary_key:
        yield UniqueLine(columns=contract.primary_key)
    for column in contract.columns:
        whole = type_family(column.type) in {"text", "uuid"} or column.type == "BIGINT"
        names = column.semantic is None and column.role is not ColumnRole.TIME
        names = names and whole and found[column.name].distinct == rows > _ROWS_OF_A_KEY
        if names and contract.primary_key != (column.name,):
            yield UniqueLine(columns=(column.name,))


def _newest(
    con: duckdb.DuckDBPyConnection,
    project: ProjectConfig,
    contract: Contract,
    now: dt.datetime,
    reasons: dict[tuple[str, ...], str],
) -> NewestLine | None:
    """As far behind as now, and three times as long as the table is ever silent, a week at least.

    Beside the newest row of the database a table that no longer grows stands out, and tables
    that never will again, such as a finished history, stay as they are.
    """
    name = contract.time_column
    newest = newest_row(con, contract.table, name, now) if name else None
    if name is None or newest is None:
        return None
    behind = project.validation.newest_behind
    latest = now if behind == "now" else database_newest(con, project, now) or now
    lag = math.ceil((latest - newest) / dt.timedelta(days=1))
    days = lag + max(_SHORTEST_SILENCE_DAYS, 3 * _silence(con, contract.table, name))
    told = "the present" if behind == "now" else "the newest row of the database"
    reasons["newest",] = f"{lag} days behind {told} now"
    return NewestLine(column=name, days=days, behind=behind)


def _silence(con: duckdb.DuckDBPyConnection, table: str, column: str) -> int:
    """Days from one day with rows to the next, of a hundred such steps the longest but one."""
    query = (
        "SELECT quantile_disc(gap, 0.99) FROM (SELECT day - lag(day) OVER (ORDER BY day) AS gap "
        f"FROM (SELECT DISTINCT CAST({quote(column)} AS DATE) AS day "
        f"FROM {quote_table(f'validated.{table}')}) WHERE day IS NOT NULL)"
    )
    return int(con.execute(query).fetchall()[0][0] or 0)
