"""Targets: columns somebody may want to predict, with the reason."""

import difflib
from collections.abc import Mapping, Sequence

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.propose.keys import Keys
from nexus_pipeline.propose.meanings import ColumnMeaning, Meaning
from nexus_pipeline.propose.names import words
from nexus_pipeline.propose.profile import ColumnProfile, TableProfile

_OUTCOMES = frozenset(
    {"churn", "churned", "label", "target", "outcome", "fraud", "fraudulent", "default",
     "defaulted", "survived", "converted", "conversion", "returned", "cancelled", "canceled",
     "won", "success", "approved", "readmitted", "attrition", "diagnosis", "result", "response",
     "left", "risk", "clicked", "delinquent", "lapsed", "renewed", "late"}
)  # fmt: skip
_AMOUNTS = frozenset({"price", "amount", "revenue", "salary", "score", "rating", "income", "value",
    "cost", "sale", "points", "point", "spend", "ltv", "balance", "grade"})  # fmt: skip
_STATES = frozenset({"status", "state", "flag", "is", "has", "was", "active"})
_MOST_CLASSES = 20
_LEAST_ROWS = 20


class Target(Record):
    """A column to predict, and why it may be one."""

    table: str
    column: str
    score: float
    reason: str

    @property
    def told(self) -> str:
        """As ``--target`` takes it."""
        return f"{self.table}.{self.column}"


def likely_targets(
    tables: Sequence[TableProfile],
    meanings: Mapping[str, Sequence[ColumnMeaning]],
    keys: Keys,
) -> tuple[Target, ...]:
    """Best first; only columns of tables with a primary key."""
    children = {table.table: 0 for table in tables}
    for link in keys.links:
        children[link.parent] += 1
    found = []
    for table in tables:
        if table.table not in keys.primary or table.rows < _LEAST_ROWS:
            continue
        for meaning in meanings[table.table]:
            score, told = _score(table[meaning.name], meaning)
            if score > 0:
                has = min(children[table.table], 3)
                told += f"; {children[table.table]} tables name rows of {table.table}"
                found.append(
                    Target(
                        table=table.table,
                        column=meaning.name,
                        score=score + 0.1 * has,
                        reason=told,
                    )
                )
    return tuple(sorted(found, key=lambda target: -target.score))


def asked_target(text: str, tables: Sequence[TableProfile]) -> tuple[str, str]:
    """Table and column of ``--target``.

    Raises:
        ConfigurationError: no such table or column, with the nearest that is.
    """
    table, dot, column = text.rpartition(".")
    known = {profile.table.lower(): profile for profile in tables}
    if not dot or table.lower() not in known:
        close = difflib.get_close_matches(table.lower() or text, list(known), n=1, cutoff=0.4)
        names = ", ".join(profile.table for profile in tables)
        told = f"did you mean {close[0]}.{column}?" if close else f"tables are {names}"
        raise ConfigurationError(f"--target must be table.column, got {text!r}; {told}")
    profile = known[table.lower()]
    columns = {c.name.lower(): c.name for c in profile.columns}
    if column.lower() not in columns:
        close = difflib.get_close_matches(column.lower(), list(columns), n=1, cutoff=0.4)
        told = f"did you mean {columns[close[0]]!r}?" if close else ", ".join(columns.values())
        raise ConfigurationError(f"--target: {profile.table} has no column {column!r}; {told}")
    return profile.table, columns[column.lower()]


def _score(column: ColumnProfile, meaning: ColumnMeaning) -> tuple[float, str]:
    named = set(words(column.name))
    if meaning.meaning not in {Meaning.CATEGORICAL, Meaning.NUMERIC} or meaning.reading:
        return 0.0, ""
    classes = column.distinct
    two = 0.2 if classes == 2 else 0.0
    if named & _OUTCOMES and (classes <= _MOST_CLASSES or meaning.meaning is Meaning.NUMERIC):
        return 1.0 + two, f"named like an outcome, {classes} values"
    if named & _STATES and 2 <= classes <= _MOST_CLASSES:
        return 0.4 + two, f"named like a state, {classes} values"
    if named & _AMOUNTS and meaning.meaning is Meaning.NUMERIC and classes > _MOST_CLASSES:
        return 0.35, "named like an amount"
    if classes == 2:
        return 0.2, "one of two values"
    return 0.0, ""
