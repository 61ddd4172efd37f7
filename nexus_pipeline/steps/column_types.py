"""What each column means, read from its type and values, with the reason in words.

The project file has the last word; what it does not mention is inferred by these rules.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import duckdb

from nexus_model.schema import ConfigurationError, Record, SemanticType
from nexus_pipeline.settings.dataset import DatasetConfig
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_columns

_WORDS_OF_A_TEXT = 4
_ROWS_OF_AN_IDENTIFIER = 100
INTEGERS = frozenset(
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT")
) | {"HUGEINT", "UHUGEINT"}
_NUMBERS = INTEGERS | {"FLOAT", "DOUBLE", "DECIMAL"}
_DATES = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
_ZONED = "TIMESTAMP WITH TIME ZONE"
_TEXTS = {"VARCHAR", "ENUM", "UUID"}


class ColumnRole(StrEnum):
    """What a column is for."""

    KEY = "key"
    TIME = "time"
    FEATURE = "feature"
    IGNORED = "ignored"


class ColumnContract(Record):
    """One column: the type it has once validated, its meaning, and why.

    ``filled`` says that no cell was empty when the contract was made: a promise to nobody, but a
    later empty cell is news.
    """

    name: str
    type: str
    role: ColumnRole
    semantic: SemanticType | None = None
    nullable: bool = True
    filled: bool = False
    unique: bool = False
    reason: str


class _Profile(Record):
    """Counts over the values of one column; the last two are known for text only."""

    rows: int
    values: int
    distinct: int
    undated: int = 0
    words: float = 0.0


def infer_columns(
    con: duckdb.DuckDBPyConnection,
    table: str,
    *,
    keys: Collection[str] = (),
    time_column: str | None = None,
    labels: Collection[str] = (),
    overrides: Mapping[str, SemanticType | None] | None = None,
) -> tuple[ColumnContract, ...]:
    """A contract for every column of ``table`` (``schema.name``), in the table's order.

    ``overrides`` gives a column its meaning, ``None`` to ignore it; names that are not in the
    table are passed over. ``labels`` are what a static task predicts, and never features.
    """
    kinds = {name: kind for name, kind in table_columns(con, table).items() if name != ROW}
    chosen = overrides or {}
    spoken_for = {*keys, time_column, *labels, *chosen}
    profiles = _profiles(con, table, {n: k for n, k in kinds.items() if n not in spoken_for})
    columns = []
    for name, kind in kinds.items():
        if name == time_column:
            columns.append(_time(name, kind, table))
        elif name in keys:
            columns.append(_column(name, kind, ColumnRole.KEY, "a key in the project file"))
        elif name in labels:
            reason = "a label of the task, so not a feature"
            columns.append(_column(name, kind, ColumnRole.IGNORED, reason))
        elif name in chosen:
            columns.append(_chosen(name, kind, chosen[name], table))
        else:
            semantic, reason = infer_semantic(kind, profiles[name])
            columns.append(_inferred(name, kind, semantic, reason))
    filled = _filled(con, table, tuple(kinds))
    return tuple(c.model_copy(update={"filled": c.name in filled}) for c in columns)


def semantic_overrides(
    dataset: DatasetConfig, known: Iterable[str]
) -> dict[str, SemanticType | None]:
    """What the project file says about columns; ``None`` means ignored.

    Raises:
        ConfigurationError: a column is in two lists, or is not one of ``known``.
    """
    lists: dict[str, tuple[SemanticType | None, tuple[str, ...]]] = {
        "categorical_columns": (SemanticType.CATEGORICAL, dataset.categorical_columns),
        "numerical_columns": (SemanticType.NUMERICAL, dataset.numerical_columns),
        "text_columns": (SemanticType.TEXT, dataset.text_columns),
        "timestamp_columns": (SemanticType.TIMESTAMP, dataset.timestamp_columns),
        "ignore_columns": (None, dataset.ignore_columns),
    }
    told_by: dict[str, str] = {}
    overrides: dict[str, SemanticType | None] = {}
    known = tuple(known)
    for where, (semantic, names) in lists.items():
        for name in names:
            assert_known(name, known, f"datasets.{dataset.table}.{where}")
            if told_by.setdefault(name, where) != where:
                raise ConfigurationError(
                    f"datasets.{dataset.table}: column {name!r} is in {told_by[name]} "
                    f"and in {where}"
                )
            overrides[name] = semantic
    return overrides


def assert_known(name: str, known: Collection[str], where: str) -> None:
    """Refuse a column name that is not there, with the nearest that is."""
    if name not in known:
        close = difflib.get_close_matches(name, [c for c in known if c != ROW], n=1, cutoff=0.5)
        told = f"did you mean {close[0]!r}?" if close else f"columns are {sorted(known)}"
        raise ConfigurationError(f"{where}: there is no column {name!r}; {told}")


def infer_semantic(kind: str, profile: _Profile) -> tuple[SemanticType | None, str]:
    """The meaning of a column of DuckDB type ``kind``, or ``None`` to ignore it, and the reason."""
    family = type_family(kind)
    if profile.values == 0:
        return None, "all values are null"
    if profile.distinct == 1 and profile.values == profile.rows:
        return None, "all values are the same"
    if family in {"text", "uuid"}:
        return _infer_text(profile)
    if _stem(kind) in INTEGERS and profile.distinct <= 2:
        return SemanticType.CATEGORICAL, f"whole numbers with {profile.distinct} values"
    by_family: dict[str, tuple[SemanticType, str]] = {
        "boolean": (SemanticType.CATEGORICAL, "yes or no"),
        "number": (SemanticType.NUMERICAL, f"numbers ({kind})"),
        "time": (SemanticType.TIMESTAMP, f"dates ({kind})"),
    }
    return by_family.get(family, (None, f"{kind} means nothing to the model; see SQL models"))


def type_family(kind: str) -> str:
    """Types that compare with each other: number, text, time, boolean, uuid, or the type itself.

    >>> type_family("DECIMAL(9,2)"), type_family("DATE")
    ('number', 'time')
    """
    stem = _stem(kind)
    if stem in _NUMBERS:
        return "number"
    if stem in _DATES or stem == _ZONED:
        return "time"
    if stem in {"VARCHAR", "ENUM"}:
        return "text"
    return {"BOOLEAN": "boolean", "UUID": "uuid"}.get(stem, kind)


def _stem(kind: str) -> str:
    return kind if kind.endswith("]") else kind.partition("(")[0]


def _infer_text(profile: _Profile) -> tuple[SemanticType | None, str]:
    if profile.undated == 0:
        return SemanticType.TIMESTAMP, "every text is a date"
    if profile.words >= _WORDS_OF_A_TEXT and profile.distinct > 0.5 * profile.values:
        return SemanticType.TEXT, f"{profile.words:.1f} words on average, mostly different"
    if profile.distinct == profile.values > _ROWS_OF_AN_IDENTIFIER:
        return None, f"an identifier: {profile.distinct} different values and no repetition"
    return SemanticType.CATEGORICAL, f"texts with {profile.distinct} values"


def _column(name: str, kind: str, role: ColumnRole, reason: str) -> ColumnContract:
    return ColumnContract(name=name, type=kind, role=role, reason=reason)


def _inferred(name: str, kind: str, semantic: SemanticType | None, reason: str) -> ColumnContract:
    if semantic is None:
        return _column(name, kind, ColumnRole.IGNORED, reason)
    stored = "TIMESTAMP" if semantic is SemanticType.TIMESTAMP and _needs_parsing(kind) else kind
    return ColumnContract(
        name=name, type=stored, role=ColumnRole.FEATURE, semantic=semantic, reason=reason
    )


def _chosen(name: str, kind: str, semantic: SemanticType | None, table: str) -> ColumnContract:
    reason = "said by the project file"
    family = type_family(kind)
    if semantic is SemanticType.NUMERICAL and family in {"text", "boolean"}:
        return _inferred(name, "DOUBLE", semantic, reason)
    impossible = (semantic is SemanticType.NUMERICAL and family != "number") or (
        semantic is SemanticType.TIMESTAMP and family not in {"time", "text"}
    )
    if impossible and semantic is not None:
        raise ConfigurationError(f"{table}.{name} is {kind} and cannot be {semantic.value}")
    return _inferred(name, kind, semantic, reason)


def _time(name: str, kind: str, table: str) -> ColumnContract:
    if type_family(kind) not in {"time", "text"}:
        raise ConfigurationError(
            f"{table}.{name} is {kind} and cannot be the time column; an SQL model can make one"
        )
    stored = "TIMESTAMP" if _needs_parsing(kind) else kind
    return ColumnContract(
        name=name,
        type=stored,
        role=ColumnRole.TIME,
        nullable=False,
        reason="the time column in the project file",
    )


def _needs_parsing(kind: str) -> bool:
    return _stem(kind) not in _DATES


def _filled(con: duckdb.DuckDBPyConnection, table: str, names: tuple[str, ...]) -> set[str]:
    """Columns without an empty cell."""
    counts = ", ".join(f"count(*) = count({quote(name)})" for name in names)
    found = con.execute(f"SELECT {counts} FROM {quote_table(table)}").fetchall()[0]
    return {name for name, filled in zip(names, found, strict=True) if filled}


def _profiles(
    con: duckdb.DuckDBPyConnection, table: str, kinds: Mapping[str, str]
) -> dict[str, _Profile]:
    return {
        name: (_text_profile if _stem(kind) in _TEXTS else _value_profile)(con, table, name, kind)
        for name, kind in kinds.items()
    }


def _value_profile(con: duckdb.DuckDBPyConnection, table: str, name: str, kind: str) -> _Profile:
    """Of values that are no text; of their number only whether it is one, two or (3) more.

    Counting what differs would take more time and memory than reading the table.
    """
    column, source = quote(name), quote_table(table)
    if type_family(kind) not in {"number", "time", "boolean"}:
        query = f"SELECT count(*), count({column}), count(DISTINCT {column}) FROM {source}"
    else:
        own = f"own.{column}"
        between = f"{own} <> ends.low AND {own} <> ends.high"
        query = (
            f"SELECT count(*), count({own}), CASE WHEN count({own}) = 0 THEN 0 "
            "WHEN bool_and(ends.low = ends.high) THEN 1 "
            f"WHEN count(*) FILTER ({between}) = 0 THEN 2 ELSE 3 END FROM {source} AS own, "
            f"(SELECT min({column}) AS low, max({column}) AS high FROM {source}) AS ends"
        )
    rows, values, distinct = con.execute(query).fetchall()[0]
    return _Profile(rows=rows, values=values, distinct=distinct)


def _text_profile(con: duckdb.DuckDBPyConnection, table: str, name: str, _kind: str) -> _Profile:
    """Every different text is looked at once."""
    text, source = "CAST(value AS VARCHAR)", quote_table(table)
    rows, values, distinct, undated, words = con.execute(
        "SELECT coalesce(sum(times), 0), coalesce(sum(times) FILTER (value IS NOT NULL), 0), "
        "count(value), coalesce(sum(times) FILTER (value IS NOT NULL "
        f"AND TRY_CAST({text} AS TIMESTAMPTZ) IS NULL), 0), "
        f"sum(times * len(string_split(trim({text}), ' '))) FILTER (value IS NOT NULL) FROM "
        f"(SELECT {quote(name)} AS value, count(*) AS times FROM {source} "
        f"GROUP BY {quote(name)})"
    ).fetchall()[0]
    return _Profile(
        rows=rows,
        values=values,
        distinct=distinct,
        undated=undated,
        words=float(words or 0) / max(1, values),
    )
