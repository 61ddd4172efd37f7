"""What texts and codes hold besides themselves: dates, numbers and durations written as text.

A column is read so when nearly all of its values can be; the rest become empty. The reading is SQL
over the column, for a model in ``dbt_like_sql``, so that prediction reads new rows the same way.
"""

from collections.abc import Callable, Iterator

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.propose.names import words
from nexus_pipeline.propose.profile import ColumnProfile, TableProfile
from nexus_pipeline.storage.names import literal, quote, quote_table

_ENOUGH = 0.95
_LOOKED_AT = 2000
_EMPTY = (
    "'', 'na', 'n/a', 'nan', 'null', 'none', '-', '--', '?', 'nil', 'unknown', 'missing', '#n/a'"
)
_DAYS = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d",
    "%Y.%m.%d", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y",
    "%b %d, %Y", "%b %d %Y", "%B %d, %Y", "%d %B %Y", "%a %d %b %Y", "%Y%m%d",
)  # fmt: skip
_GROUPED = "([1-9]\\d?\\d?(,\\d{3})+|0|[1-9]\\d*)"
_DOTTED = _GROUPED.replace(",", "\\.")
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_WORDS_OF_TIME = frozenset({"time", "ts", "date", "at", "epoch", "timestamp", "created", "when",
    "day", "dt", "datetime"})  # fmt: skip


class Reading(Record):
    """A column read as something else: ``sql`` over it, what that gives, and why.

    ``check`` is whether a value is written that way, where ``sql`` also reads values that are not.
    """

    gives: str
    sql: str
    reason: str
    check: str = ""


def find_reading(
    con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile
) -> Reading | None:
    """How to read a column, if not as it is."""
    if column.values == 0 or column.inferred.semantic == "timestamp":
        return None
    if column.family == "number":
        return _coded_time(con, table, column)
    if column.family != "text" or column.width > 64:
        return None
    values = _values(con, table, column)
    if sum(any(mark.isdigit() for mark in value) for value in values) < 0.5 * len(values):
        return None
    con.execute("CREATE OR REPLACE TEMP TABLE looked_at (value VARCHAR)")
    con.executemany("INSERT INTO looked_at VALUES (?)", [[value] for value in values])
    return _first_that_reads(con, column) if values else None


def _first_that_reads(con: duckdb.DuckDBPyConnection, column: ColumnProfile) -> Reading | None:
    filled = f"(SELECT value FROM looked_at WHERE lower(trim(value)) NOT IN ({_EMPTY}))"
    total = con.execute(f"SELECT count(*) FROM {filled}").fetchall()[0][0]
    if not total:
        return None

    def share(reading: Reading) -> float:
        good = f"({reading.sql}) IS NOT NULL AND ({reading.check or 'true'})"
        good = good.replace(quote(column.name), "value")
        return (
            con.execute(f"SELECT count(*) FILTER ({good}) FROM {filled}").fetchall()[0][0] / total
        )

    for find in (_dates, _numbers, _durations):
        for reading in find(column):
            if share(reading) >= _ENOUGH:
                return _told(reading, column, share)
    return None


def _values(
    con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile
) -> list[str]:
    name = quote(column.name)
    rows = con.execute(
        f"SELECT DISTINCT CAST({name} AS VARCHAR) FROM (SELECT {name} FROM "
        f"{quote_table(table.relation)} WHERE {name} IS NOT NULL LIMIT {50 * _LOOKED_AT}) "
        f"ORDER BY 1 LIMIT {_LOOKED_AT}"
    ).fetchall()
    return [row[0] for row in rows]


def _dates(column: ColumnProfile) -> Iterator[Reading]:
    name = quote(column.name)
    text = f"trim({name})"
    yield Reading(
        gives="timestamp",
        sql=f"try_cast({text} as timestamp)",
        reason="dates such as {sample}, some cells none",
    )
    for day in _DAYS:
        forms = ", ".join(literal(day + time) for time in _TIMES)
        # A year of two digits would be read as the year 23 by a pattern for four.
        long = "" if "%y" in day else f"case when regexp_matches({text}, '\\d{{4}}') then "
        end = "" if "%y" in day else " end"
        parsed = f"{long}try_strptime({text}, [{forms}]){end}"
        yield Reading(
            gives="timestamp", sql=parsed, reason=f"dates written {day}, such as {{sample}}"
        )


def _told(reading: Reading, column: ColumnProfile, share: Callable[[Reading], float]) -> Reading:
    sample = next((value for value in column.samples if any(c.isdigit() for c in value)), "")
    reason = reading.reason.replace("{sample}", repr(sample))
    for one, other in (("%d/%m", "%m/%d"), ("%d-%m", "%m-%d")):
        if f"'{one}" in reading.sql:
            swapped = reading.model_copy(update={"sql": reading.sql.replace(one, other)})
            if share(swapped) >= _ENOUGH:
                reason += "; day and month could be the other way round, look at the SQL"
    return reading.model_copy(update={"reason": reason})


def _numbers(column: ColumnProfile) -> Iterator[Reading]:
    """A number that begins with a needless zero is a code, and is left alone."""
    name = quote(column.name)
    bare = f"trim(regexp_replace({name}, '(?i)usd|eur|gbp|chf|[$€£¥₹%'']', '', 'g'))"
    yield Reading(
        gives="number",
        sql=f"try_cast(nullif(lower(trim({name})), 'nan') as double)",
        check=f"not regexp_matches(trim({name}), '^[-+]?0\\d')",
        reason="numbers, such as {sample}, and some texts that are none",
    )
    yield Reading(
        gives="number",
        sql=f"try_cast(replace({bare}, ',', '') as double)",
        check=f"regexp_matches({bare}, '^[-+]?{_GROUPED}(\\.\\d+)?$')",
        reason="numbers written as text, such as {sample}",
    )
    yield Reading(
        gives="number",
        sql=f"try_cast(replace(replace({bare}, '.', ''), ',', '.') as double)",
        check=f"regexp_matches({bare}, '^[-+]?{_DOTTED}(,\\d+)?$')",
        reason="numbers with a decimal comma, such as {sample}",
    )
    yield Reading(
        gives="number",
        sql=f"try_cast(regexp_replace(replace({bare}, ',', ''), '^\\((.*)\\)$', '-\\1') as double)",
        check=f"regexp_matches({bare}, '^-?\\(?{_GROUPED}(\\.\\d+)?\\)?$')",
        reason="amounts as in accounts, such as {sample}, brackets for a minus",
    )


def _durations(column: ColumnProfile) -> Iterator[Reading]:
    text = f"trim({quote(column.name)})"
    parts = [f"try_cast(split_part({text}, ':', {place}) as double)" for place in (1, 2, 3)]
    yield Reading(
        gives="number",
        sql=(
            f"case when regexp_matches({text}, '^\\+?\\d{{1,3}}:\\d{{2}}(\\.\\d+)?$') "
            f"then {parts[0]} * 60 + {parts[1]} "
            f"when regexp_matches({text}, '^\\+?\\d{{1,3}}:\\d{{2}}:\\d{{2}}(\\.\\d+)?$') "
            f"then {parts[0]} * 3600 + {parts[1]} * 60 + {parts[2]} end"
        ),
        reason="durations or times of day, such as {sample}, as a number",
    )


def _coded_time(
    con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile
) -> Reading | None:
    """Whole numbers that are days (20240131) or seconds since 1970."""
    if column.low is None or column.high is None or "." in column.low.rstrip("0").rstrip("."):
        return None
    low, high, name = float(column.low), float(column.high), quote(column.name)
    timely = bool(set(words(column.name)) & _WORDS_OF_TIME)
    for unit, factor in (("seconds", 1), ("milliseconds", 1000)):
        if timely and 2e8 * factor <= low and high <= 4.2e9 * factor:
            made = f"make_timestamp(cast({name} as bigint) * {1_000_000 // factor})"
            return Reading(
                gives="timestamp",
                sql=made,
                reason=f"{unit} since 1970, such as {column.samples[0]}",
            )
    if not 18_000_101 <= low <= high <= 22_001_231:
        return None
    parsed = f"try_strptime(cast(cast({name} as bigint) as varchar), '%Y%m%d')"
    query = f"SELECT count({parsed}), count({name}) FROM {quote_table(table.relation)}"
    read, values = con.execute(query).fetchall()[0]
    if read < 0.99 * values:
        return None
    return Reading(
        gives="timestamp", sql=parsed, reason=f"dates as numbers, such as {column.samples[0]}"
    )
