"""Meanings: what each column is, by the pipeline's own rules and what only a proposal can see.

The pipeline infers from types and counts; a proposal also reads names, formats, and the text of
the cells. Where the two differ the proposed file says it.
"""

import re
from collections.abc import Collection
from enum import StrEnum

import duckdb

from nexus_model.schema import Record, SemanticType
from nexus_pipeline.propose.formats import Reading, find_reading
from nexus_pipeline.propose.names import says_key, words
from nexus_pipeline.propose.profile import ColumnProfile, TableProfile
from nexus_pipeline.steps.column_types import INTEGERS
from nexus_pipeline.storage.names import quote, quote_table

_CODE_WORDS = frozenset(
    {"zip", "postal", "postcode", "plz", "code", "type", "status", "category", "class", "group",
     "kind", "flag", "segment", "tier", "region", "district", "store", "branch", "gender", "mode",
     "cluster", "genre", "sic", "naic", "fips", "isbn", "zipcode", "phone", "iban", "barcode"}
)  # fmt: skip
_COUNT_WORDS = frozenset({"number", "num", "no", "nr"})
_MOST_CODES = 1000
_MOST_GROUPS = 30
_IDENTIFIERS = (
    ("a UUID", r"^\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?$"),
    ("an e-mail address", r"^[^@\s]+@[^@\s]+\.[^@\s]+$"),
    ("a web address", r"^(https?://|www\.)\S+$"),
    ("a hash", r"^[0-9a-f]{32,64}$"),
)  # fmt: skip


class Meaning(StrEnum):
    """What a column is."""

    KEY = "key"
    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    TIMESTAMP = "timestamp"
    TEXT = "text"
    CONSTANT = "constant"
    IGNORE = "ignore"


SEMANTICS = {
    Meaning.NUMERIC: SemanticType.NUMERICAL,
    Meaning.CATEGORICAL: SemanticType.CATEGORICAL,
    Meaning.TIMESTAMP: SemanticType.TIMESTAMP,
    Meaning.TEXT: SemanticType.TEXT,
}


class ColumnMeaning(Record):
    """A column's meaning, why, and how it is read if not as it is.

    ``says`` is whether the project file must say so, because the pipeline would infer another.
    """

    name: str
    meaning: Meaning
    reason: str
    reading: Reading | None = None
    says: bool = False


def find_meanings(
    con: duckdb.DuckDBPyConnection, table: TableProfile, keys: Collection[str]
) -> tuple[ColumnMeaning, ...]:
    """The meaning of every column of a table, of which ``keys`` are known to be keys."""
    return tuple(
        ColumnMeaning(name=column.name, meaning=Meaning.KEY, reason="a key of this file")
        if column.name in keys
        else find_meaning(con, table, column)
        for column in table.columns
    )


def find_meaning(
    con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile
) -> ColumnMeaning:
    """The meaning of one column that is no key."""
    if column.values == 0:
        return _inferred(column)
    if column.distinct == 1 and column.values == table.seen:
        return _inferred(column)
    reading = find_reading(con, table, column)
    if reading is not None:
        meaning = Meaning.TIMESTAMP if reading.gives == "timestamp" else Meaning.NUMERIC
        return ColumnMeaning(
            name=column.name, meaning=meaning, reason=reading.reason, reading=reading
        )
    found = _number(table, column) if column.family == "number" else _text(con, table, column)
    if found is None:
        return _inferred(column)
    meaning, reason = found
    inferred = _inferred(column).meaning
    return ColumnMeaning(
        name=column.name, meaning=meaning, reason=reason, says=meaning is not inferred
    )


def _inferred(column: ColumnProfile) -> ColumnMeaning:
    semantic, reason = column.inferred.semantic, column.inferred.reason
    if semantic is None:
        same = "all values are the same" in reason
        meaning = Meaning.CONSTANT if same else Meaning.IGNORE
    else:
        meaning = next(mine for mine, theirs in SEMANTICS.items() if theirs is semantic)
    return ColumnMeaning(name=column.name, meaning=meaning, reason=reason)


def _number(table: TableProfile, column: ColumnProfile) -> tuple[Meaning, str] | None:
    if column.distinct <= 2 or not _is_whole(column):
        return None
    named, key = set(words(column.name)), says_key(column.name)
    if _counts_rows(table, column) and (key or table.columns[0] is column):
        return Meaning.IGNORE, f"an identifier: {column.distinct} different whole numbers"
    if key and not named & _COUNT_WORDS and column.distinct > max(50, 0.5 * column.values):
        return Meaning.IGNORE, "an identifier: hardly any value comes twice"
    if key and not named & _COUNT_WORDS:
        return Meaning.CATEGORICAL, f"whole numbers that name something, {column.distinct} of them"
    if named & _CODE_WORDS and column.distinct <= _MOST_CODES:
        return Meaning.CATEGORICAL, f"a code by its name, {column.distinct} of them"
    return None


def _is_whole(column: ColumnProfile) -> bool:
    if column.kind.partition("(")[0] in INTEGERS:
        return True
    return column.kind == "DOUBLE" and all(value.endswith(".0") for value in column.samples)


def _counts_rows(table: TableProfile, column: ColumnProfile) -> bool:
    return column.distinct == column.values == table.seen and table.seen > 20


def _text(
    con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile
) -> tuple[Meaning, str] | None:
    if column.family != "text" or column.inferred.semantic is SemanticType.TIMESTAMP:
        return None
    spread = column.distinct / column.values
    if spread > 0.3 and column.distinct > 20:
        for told, pattern in _IDENTIFIERS:
            if all(re.match(pattern, value) for value in _cells(con, table, column)):
                return Meaning.IGNORE, f"{told} in every row, {column.distinct} different"
    length, parts = _length_and_words(con, table, column)
    if parts >= 4 and (spread > 0.2 or column.distinct > _MOST_CODES):
        return Meaning.TEXT, f"{parts:.1f} words on average, {column.distinct} different texts"
    names_rows = spread > 0.8 and column.distinct > 50 and length < 64
    if column.inferred.semantic is SemanticType.CATEGORICAL and (
        names_rows or (spread == 1 and column.distinct > _MOST_GROUPS)
    ):
        told = f"almost every row its own value, {column.distinct} in {column.values}"
        return Meaning.IGNORE, told
    return None


def _cells(con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile) -> list[str]:
    name = quote(column.name)
    rows = con.execute(
        f"SELECT trim(CAST({name} AS VARCHAR)) FROM {quote_table(table.relation)} "
        f"WHERE {name} IS NOT NULL LIMIT 200"
    ).fetchall()
    return [row[0] for row in rows]


def _length_and_words(
    con: duckdb.DuckDBPyConnection, table: TableProfile, column: ColumnProfile
) -> tuple[float, float]:
    name = quote(column.name)
    found = con.execute(
        f"SELECT avg(length({name})), avg(len(string_split(trim({name}), ' '))) "
        f"FROM {quote_table(table.relation)}"
    ).fetchall()[0]
    return float(found[0] or 0), float(found[1] or 0)
