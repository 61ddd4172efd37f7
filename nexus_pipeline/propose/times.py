"""Time columns: which of a table's moments says when a row became known."""

from collections.abc import Sequence

from nexus_model.schema import Record
from nexus_pipeline.propose.meanings import ColumnMeaning, Meaning
from nexus_pipeline.propose.names import words
from nexus_pipeline.propose.profile import TableProfile

_LARGEST_EMPTY = 0.02
_EVENTS = frozenset(
    {"created", "ordered", "placed", "opened", "happened", "occurred", "event", "sent", "posted",
     "logged", "recorded", "received", "visited", "booked", "issued", "purchased", "purchase",
     "transaction", "order", "reported", "observed", "measured", "timestamp", "when", "ts"}
)  # fmt: skip
_STARTS = frozenset({"start", "begin", "signup", "joined", "registered", "registration", "since",
    "admission", "admitted", "hire", "hired", "enrolled", "from", "invoice"})  # fmt: skip
_PLAIN = frozenset({"date", "day", "time", "at", "datetime", "dt", "hour"})
_PERSONS = frozenset({"birth", "dob", "born", "birthday", "birthdate", "death", "died", "deceased",
    "founded", "built", "expiry", "expires", "expiration"})  # fmt: skip
_LATER = frozenset(
    {"updated", "modified", "changed", "edited", "closed", "resolved", "ended", "end", "due",
     "until", "to", "delivered", "delivery", "shipped", "arrival", "arrived", "returned",
     "cancelled", "canceled", "churned", "churn", "paid", "finished", "completed", "estimated",
     "scheduled", "planned", "last", "limit", "deadline", "discharge", "debut", "final", "answer"}
)  # fmt: skip


class TimeChoice(Record):
    """A table's time column, why, and the others that could be; ``column`` None is none."""

    column: str | None
    reason: str
    others: tuple[str, ...] = ()


def choose_time(table: TableProfile, meanings: Sequence[ColumnMeaning]) -> TimeChoice:
    """The moment a row became known.

    A row without its time is quarantined, so a column that is often empty is not chosen.
    """
    scored: list[tuple[float, str, str]] = []
    for place, column in enumerate(meanings):
        if column.meaning is not Meaning.TIMESTAMP:
            continue
        empty = table.empty_share(table[column.name])
        score, told = _score(column.name)
        if empty > _LARGEST_EMPTY:
            score, told = -1.0, f"empty in {empty:.0%} of rows"
        scored.append((score - 0.01 * place, column.name, told))
    scored.sort(key=lambda item: -item[0])
    if not scored:
        return TimeChoice(column=None, reason="no column holds moments")
    best, name, told = scored[0]
    others = tuple(f"{other} ({why})" for _, other, why in scored[1:])
    if best <= 0:
        return TimeChoice(column=None, reason=f"{name} is no such moment: {told}", others=others)
    return TimeChoice(column=name, reason=told, others=others)


def _score(name: str) -> tuple[float, str]:
    found = set(words(name))
    if found & _PERSONS:
        return -1.0, "it dates a person or thing, not the row"
    if found & _LATER and not found & {"created", "ordered", "placed"}:
        return 0.1 if "scheduled" in found or "planned" in found else -0.5, (
            "it comes after the row began"
        )
    if found & _EVENTS:
        return 1.0, "its name says the row happened then"
    if found & _STARTS:
        return 0.7, "its name says the row began then"
    if found & _PLAIN:
        return 0.6, "a date of the row by its name"
    return 0.3, "the moments it holds"
