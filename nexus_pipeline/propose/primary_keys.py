"""Primary keys: columns that are never empty and never repeat, and look like a key by name.

One column first; else the best two or three columns together, foreign keys and dates before
measures. A table may have none.
"""

import itertools
import math
from collections.abc import Collection, Sequence

import duckdb

from nexus_model.schema import SemanticType
from nexus_pipeline.propose.evidence import ProposedKey
from nexus_pipeline.propose.key_values import may_be_key
from nexus_pipeline.propose.names import ID_WORDS, core, is_short_for, says_key, words
from nexus_pipeline.propose.profile import ColumnProfile, TableProfile
from nexus_pipeline.storage.names import quote, quote_all, quote_table

MOST_COLUMNS = 3
_TRIED = 12
_LEAST_PART = 0.5
_COMPARED = 5
_LOOKED_AT = 20_000
_LARGEST_REPEAT = 0.01
_FEW_ROWS = 30
_PART_WORDS = frozenset(
    {"date", "day", "month", "year", "time", "hour", "week", "quarter", "period", "season",
     "order", "seq", "sequence", "line", "position", "rank", "round", "stint", "half", "version",
     "step", "index", "row", "item", "game", "category", "award", "flight", "start", "from"}
)  # fmt: skip
_NOT_KEY_WORDS = frozenset({"url", "email", "mail", "phone", "description", "comment", "note",
    "amount", "price", "lat", "lng", "longitude", "latitude", "address", "title"})  # fmt: skip


def single_key(
    con: duckdb.DuckDBPyConnection, table: TableProfile, named: Sequence[str]
) -> ProposedKey | None:
    """The one column that is the table's key, if any; ``named`` are the words of its name."""
    best: ProposedKey | None = None
    for place, column in enumerate(table.columns):
        if not may_be_key(column) or _is_no_key(column.name):
            continue
        score, told = _name_score(column, place, tuple(named))
        unique = _is_unique(con, table, column)
        if not unique and score < 0.9:
            continue
        repeats = 0 if unique else _repeats(con, table, column)
        if repeats > _LARGEST_REPEAT * table.rows or (column.family == "time" and score < 0.9):
            continue
        if score < (0.3 if table.rows >= _FEW_ROWS else 0.15):
            continue
        if best is None or score > best.score:
            best = _told_key(table, (column.name,), score, repeats, told)
    return best


def composite_key(
    con: duckdb.DuckDBPyConnection,
    table: TableProfile,
    linked: Collection[str],
    named: Sequence[str],
    others: Sequence[Collection[tuple[str, ...]]],
) -> ProposedKey | None:
    """The best two or three columns that are unique together.

    ``linked`` are foreign keys, ``named`` the words of the table's name, ``others`` by other table
    the words of its columns: a key that many tables could name is more likely one.
    """
    scores = {
        column.name: _part_score(column, place, linked) + 0.1 * _abbreviates(column.name, named)
        for place, column in enumerate(table.columns)
        if may_be_key(column) and column.values == table.seen and column.distinct > 1
    }
    likely = (name for name in scores if scores[name] > _LEAST_PART)
    tried = sorted(likely, key=lambda name: -scores[name])
    tried = tried[:_TRIED]
    copies = _copies(con, table)
    for size in range(2, MOST_COLUMNS + 1):
        sets = sorted(
            itertools.combinations(tried, size),
            key=lambda names: -sum(scores[name] for name in names),
        )
        good = (
            names
            for names in sets
            if _can_be_unique(table, names) and _are_unique(con, table, names, copies)
        )
        found = list(itertools.islice(good, _COMPARED))
        if found:
            best = max(
                found,
                key=lambda names: sum(scores[n] for n in names) + 0.05 * _named_by(names, others),
            )
            mean = sum(scores[name] for name in best) / size
            ordered = tuple(c.name for c in table.columns if c.name in best)
            return _told_key(table, ordered, mean, copies, "no smaller set of columns is")
    return None


def _named_by(names: Sequence[str], others: Sequence[Collection[tuple[str, ...]]]) -> int:
    """How many other tables, five at most, have columns named like all of these."""
    return min(5, sum(all(words(name) in columns for name in names) for columns in others))


def alternate_keys(table: TableProfile, primary: Sequence[str]) -> tuple[str, ...]:
    """Other columns that name rows: filled values differ, and the name says key."""
    return tuple(
        column.name
        for column in table.columns
        if (column.name,) != tuple(primary)
        and not table.is_sampled
        and may_be_key(column)
        and says_key(column.name)
        and core(column.name)
        and column.distinct == column.values >= 10
    )


def _name_score(column: ColumnProfile, place: int, table: tuple[str, ...]) -> tuple[float, str]:
    mine, first = core(column.name), 0.15 * (place == 0)
    if says_key(column.name) and not mine and set(words(column.name)) != {"number"}:
        return 0.95 + first / 3, "named as a key"
    if mine and (mine == table or mine == table[-len(mine) :]) and len(mine[-1]) > 1:
        return 0.9 + first, "named after the table"
    if says_key(column.name):
        related = bool(mine) and ("".join(table).startswith(mine[0][:3]) or mine[-1] in table)
        return 0.55 + 0.25 * related + first, "named as a key"
    if place == 0:
        return 0.35, "the first column"
    short = column.family == "text" and column.width <= 12 and set(words(column.name)) <= ID_WORDS
    return (0.3, "a short code") if short else (0.05, "by its values alone")


def _part_score(column: ColumnProfile, place: int, linked: Collection[str]) -> float:
    """How much a column looks like a part of a key: what it is, and how early it comes."""
    lead = max(0.0, 0.3 - 0.05 * place)
    if _is_no_key(column.name):
        return 0.0
    timely = column.family == "time" or column.inferred.semantic is SemanticType.TIMESTAMP
    signs = (
        (column.name in linked, 1.0 + lead / 3),
        (says_key(column.name), 0.8 + lead / 3),
        (timely, 0.7 + lead / 2),
        (bool(set(words(column.name)) & _PART_WORDS), 0.6 + lead),
        (column.family == "text", 0.25 + lead),
    )
    return next((score for is_so, score in signs if is_so), 0.1 + lead)


def _abbreviates(column: str, table: Sequence[str]) -> bool:
    mine = "".join(core(column))
    return any(is_short_for(mine, word) for word in table)


def _is_no_key(name: str) -> bool:
    return bool(set(words(name)) & _NOT_KEY_WORDS) and not says_key(name)


def _is_unique(con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile) -> bool:
    if not column.distinct == column.values == table.seen:
        return False
    return not table.is_sampled or _are_unique(con, table, (column.name,))


def _repeats(con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile) -> int:
    name = quote(column.name)
    query = f"SELECT count(*) - count(DISTINCT {name}) FROM {quote_table(f'raw.{table.table}')}"
    return int(con.execute(query).fetchall()[0][0])


def _can_be_unique(table: TableProfile, names: Sequence[str]) -> bool:
    product = math.prod(table[name].distinct for name in names)
    return product >= (1 - _LARGEST_REPEAT) * table.seen


def _copies(con: duckdb.DuckDBPyConnection, table: TableProfile) -> int:
    """Rows that are the same as an earlier one in every column, if they are few."""
    if table.is_sampled:
        return 0
    source, columns = quote_table(f"raw.{table.table}"), quote_all([c.name for c in table.columns])
    query = f"SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {source}))"
    copies = int(con.execute(f"{query} FROM {source}").fetchall()[0][0])
    return copies if copies <= _LARGEST_REPEAT * table.rows else 0


def _are_unique(
    con: duckdb.DuckDBPyConnection, table: TableProfile, names: Sequence[str], copies: int = 0
) -> bool:
    """Whether no two rows agree, but for whole copies; the first rows are asked before all."""
    source, columns = quote_table(f"raw.{table.table}"), quote_all(tuple(names))
    if copies:
        everything = quote_all([column.name for column in table.columns])
        source = f"(SELECT DISTINCT {everything} FROM {source})"
    for rows in (f"(SELECT {columns} FROM {source} LIMIT {_LOOKED_AT})", source):
        query = f"SELECT 1 FROM {rows} GROUP BY {columns} HAVING count(*) > 1 LIMIT 1"
        if con.execute(query).fetchall():
            return False
        if table.rows <= _LOOKED_AT:
            break
    return True


def _told_key(
    table: TableProfile, columns: tuple[str, ...], score: float, repeats: int, told: str
) -> ProposedKey:
    together = "unique together" if len(columns) > 1 else "unique"
    counted = f"{together} and never empty in {table.rows:,} rows"
    if repeats:
        counted = f"{repeats} of {table.rows:,} rows repeat an earlier one; they are quarantined"
    return ProposedKey(
        table=table.table,
        columns=columns,
        score=round(score, 3),
        repeats=repeats,
        reason=f"{counted}; {told}",
    )
