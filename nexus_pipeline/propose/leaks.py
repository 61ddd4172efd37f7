"""Leaks: columns that give the target away, because they are made from it or filled with it.

One column alone that tells nearly every label, where the labels are not nearly all the same, is
more often a leak than luck. The file ignores such columns and says why; the user decides.
"""

from collections.abc import Iterator, Sequence

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.propose.keys import Keys
from nexus_pipeline.propose.meanings import ColumnMeaning, Meaning
from nexus_pipeline.propose.profile import TableProfile
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_columns

_NEARLY_ALL = 0.99
_LEAST_GAIN = 0.5
_SAME_ORDER = 0.995
_MOST_CLASSES = 20
_LEAST_ROWS, _LEAST_SHARE = 20, 0.1


class Leak(Record):
    """A column that tells the target, and how; ``table`` alone means its rows' existence does."""

    table: str
    column: str | None
    reason: str


def find_leaks(
    con: duckdb.DuckDBPyConnection,
    table: TableProfile,
    target: str,
    meanings: Sequence[ColumnMeaning],
    keys: Keys,
) -> tuple[Leak, ...]:
    """Columns of the target's table, and tables that name its rows, that give the target away."""
    label = table[target]
    if label.values == 0 or label.distinct < 2:
        return ()
    own = keys.key_columns(table.table)
    found = [
        leak
        for meaning in meanings
        if meaning.name not in {target, *own}
        and meaning.meaning not in {Meaning.CONSTANT, Meaning.TEXT}
        and (leak := _column_leak(con, table, target, meaning))
    ]
    return (*found, *_copied(con, table, target, keys), *_row_leaks(con, table, target, keys))


def _column_leak(
    con: duckdb.DuckDBPyConnection, table: TableProfile, target: str, column: ColumnMeaning
) -> Leak | None:
    profile = table[column.name]
    if profile.values == 0:
        return None
    few, relation = table[target].distinct <= _MOST_CLASSES, quote_table(table.relation)
    told = None
    if few and profile.values < table.seen:
        filled = f"{quote(column.name)} IS NOT NULL"
        told = _tells(con, relation, target, filled, "it is filled just where {label}")
    if told is None and few and profile.distinct <= table.seen / 10:
        told = _tells(
            con, relation, target, quote(column.name), "each of its values has one {name}"
        )
    if told is None and table[target].family == "number" and profile.family == "number":
        told = _in_order(con, table, target, column.name, few=few)
    if told is None and profile.values < table.seen and table[target].values < table.seen:
        told = _filled_with(con, table, target, column.name)
    return Leak(table=table.table, column=column.name, reason=told) if told else None


def _tells(
    con: duckdb.DuckDBPyConnection, relation: str, target: str, by: str, told: str
) -> str | None:
    """Share of labels right when every value of ``by`` is given its most frequent label."""
    label = quote(target)
    right, total, most = con.execute(
        f"WITH counted AS (SELECT {by} AS given, {label} AS label, count(*) AS n FROM {relation} "
        f"WHERE {label} IS NOT NULL GROUP BY ALL) "
        "SELECT (SELECT sum(most) FROM (SELECT max(n) AS most FROM counted GROUP BY given)), "
        "(SELECT sum(n) FROM counted), "
        "(SELECT max(n) FROM (SELECT sum(n) AS n FROM counted GROUP BY label))"
    ).fetchall()[0]
    if not total or right / total < _NEARLY_ALL:
        return None
    wrong_before, wrong_now = 1 - most / total, 1 - right / total
    if wrong_before == 0 or wrong_now > (1 - _LEAST_GAIN) * wrong_before:
        return None
    label_told = told.format(name=target, label=f"{target} has certain values")
    return f"{label_told}; it alone tells {right / total:.1%} of labels"


def _in_order(
    con: duckdb.DuckDBPyConnection, table: TableProfile, target: str, column: str, *, few: bool
) -> str | None:
    """Two numeric columns in the same order, or two classes that it separates."""
    pair = (
        f"(SELECT rank() OVER (ORDER BY {quote(column)}) + (count(*) OVER "
        f"(PARTITION BY {quote(column)}) - 1) / 2 AS x, {quote(target)} AS label, "
        f"rank() OVER (ORDER BY {quote(target)}) + (count(*) OVER (PARTITION BY {quote(target)}) "
        f"- 1) / 2 AS y FROM {quote_table(table.relation)} "
        f"WHERE {quote(column)} IS NOT NULL AND {quote(target)} IS NOT NULL)"
    )
    if few and table[target].distinct == 2:
        mean, ones, total = con.execute(
            f"SELECT avg(x) FILTER (label = (SELECT max({quote(target)}) FROM "
            f"{quote_table(table.relation)})) AS mean, count(*) FILTER (label = (SELECT "
            f"max({quote(target)}) FROM {quote_table(table.relation)})) AS ones, count(*) "
            f"FROM {pair}"
        ).fetchall()[0]
        if not ones or ones == total or total < 20:
            return None
        area = (mean - (ones + 1) / 2) / (total - ones)
        best = max(area, 1 - area)
        return f"its order tells {target} apart, AUROC {best:.3f}" if best > _SAME_ORDER else None
    found = con.execute(f"SELECT corr(x, y), count(*) FROM {pair}").fetchall()[0]
    if found[0] is None or found[1] < 20 or abs(found[0]) < _SAME_ORDER:
        return None
    return f"almost the same order as {target}, rank correlation {found[0]:.4f}"


def _filled_with(
    con: duckdb.DuckDBPyConnection, table: TableProfile, target: str, column: str
) -> str | None:
    """Filled where the target is filled, and nowhere else."""
    same, filled = con.execute(
        f"SELECT count(*) FILTER (({quote(column)} IS NULL) = ({quote(target)} IS NULL)) / "
        f"count(*), count({quote(target)}) / count(*) FROM {quote_table(table.relation)}"
    ).fetchall()[0]
    if same < _NEARLY_ALL or min(filled, 1 - filled) < 2 * (1 - same) or not 0.02 < filled < 0.98:
        return None
    return f"it is known only where {target} is"


def _copied(
    con: duckdb.DuckDBPyConnection, table: TableProfile, target: str, keys: Keys
) -> Iterator[Leak]:
    """Columns of tables that name the rows asked about, which repeat the answer row by row."""
    if table.is_sampled:
        return
    label = quote(target)
    for link in keys.links:
        if link.parent != table.table or link.table == table.table or link.recast:
            continue
        own = keys.key_columns(link.table)
        names = [n for n in table_columns(con, f"raw.{link.table}") if n not in {*own, ROW}]
        mine = ", ".join(f"{quote(name)} AS k{n}" for n, name in enumerate(link.columns))
        on = " AND ".join(
            f"child.k{n} = entity.{quote(name)}" for n, name in enumerate(link.references_columns)
        )
        for name in names:
            child, column = quote_table(f"raw.{link.table}"), quote(name)
            # One value per row asked about, or none where its rows differ.
            given = (
                f"SELECT {mine}, CASE WHEN min({column}) = max({column}) THEN min({column}) END "
                f"AS given FROM {child} GROUP BY {', '.join(quote(n) for n in link.columns)}"
            )
            relation = (
                f"(SELECT child.given, entity.{label} FROM {quote_table(table.relation)} AS entity "
                f"JOIN ({given}) AS child ON {on} WHERE child.given IS NOT NULL)"
            )
            told = _repeats(con, relation, target, table[target].values)
            if told is not None:
                yield Leak(table=link.table, column=name, reason=told)


def _repeats(con: duckdb.DuckDBPyConnection, relation: str, target: str, labels: int) -> str | None:
    """What one value per row asked about tells of its label, where enough rows have one."""
    label = quote(target)
    rows, values, same = con.execute(
        f"SELECT count({label}), count(DISTINCT given), count(*) FILTER (CAST(given AS VARCHAR) = "
        f"CAST({label} AS VARCHAR)) FROM {relation}"
    ).fetchall()[0]
    if rows < max(_LEAST_ROWS, _LEAST_SHARE * labels) or values < 2:
        return None
    if same / rows >= _NEARLY_ALL:
        return f"it repeats {target} in {same / rows:.1%} of the rows that name it"
    if values > rows / 10:
        return None
    return _tells(con, relation, target, "given", "each of its values has one {name}")


def _row_leaks(
    con: duckdb.DuckDBPyConnection, table: TableProfile, target: str, keys: Keys
) -> Iterator[Leak]:
    """Tables whose rows are there just for entities of one label."""
    if table[target].distinct > _MOST_CLASSES or table.is_sampled:
        return
    for link in keys.links:
        if link.parent != table.table or link.table == table.table or link.recast:
            continue
        on = " AND ".join(
            f"child.{quote(mine)} = entity.{quote(theirs)}"
            for mine, theirs in zip(link.columns, link.references_columns, strict=True)
        )
        exists = f"EXISTS (SELECT 1 FROM {quote_table(f'raw.{link.table}')} AS child WHERE {on})"
        relation = (
            f"(SELECT {exists} AS given, entity.* FROM {quote_table(table.relation)} AS entity)"
        )
        told = _tells_in(con, relation, target)
        if told is not None:
            yield Leak(table=link.table, column=None, reason=told)


def _tells_in(con: duckdb.DuckDBPyConnection, relation: str, target: str) -> str | None:
    rows = con.execute(
        f"SELECT given, {quote(target)}, count(*) FROM {relation} "
        f"WHERE {quote(target)} IS NOT NULL "
        "GROUP BY ALL"
    ).fetchall()
    total = sum(row[2] for row in rows)
    labels, given = {row[1] for row in rows}, {row[0] for row in rows}
    right = sum(max((row[2] for row in rows if row[0] == value), default=0) for value in given)
    most = max(sum(row[2] for row in rows if row[1] == label) for label in labels)
    if len(given) < 2 or right / total < _NEARLY_ALL:
        return None
    if 1 - right / total > (1 - _LEAST_GAIN) * (1 - most / total):
        return None
    return f"whether it has rows for one of them tells {right / total:.1%} of {target}"
