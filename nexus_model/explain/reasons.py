"""Why a prediction, in words of somebody who answers the telephone.

B samples, K facts. A reason names a fact of the sample, where it stands among others, and what
exchanging its table (or own column) for that of others changes. Of a table's facts the one is named
that usually, over training samples, goes with a change in this direction; where none does beyond
chance, the rows are named as a whole. It describes the model, not what causes what.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from pydantic import Field

from nexus_model.explain.effects import (
    Cause,
    Effects,
    FactReference,
    Reference,
    effects_of,
    learn_reference,
)
from nexus_model.explain.facts import Fact, Facts, gather_facts, newest_text, standing
from nexus_model.explain.integrated_gradients import column_names
from nexus_model.explain.outcome import Asked
from nexus_model.explain.words import COMPARED, counted, describe, told_outcome, told_size
from nexus_model.schema import Record, TaskSpec
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.statistics import Tokenizer

Array = np.ndarray
MOST_REASONS = 3
FEWEST_KNOWN = 20
MOST_AT_HAND = 200
SMALL = 0.005


class Reason(Record):
    """One reason: the words, and what they were made from."""

    text: str
    table: str
    column: str = Field(description="the one column exchanged; empty: the whole table")
    fact: Fact | None = Field(description="what was named; none where no fact accounts for it")
    value: float | None
    below: float | None = Field(description="share of training samples with less; None: unknown")
    above: float | None
    change: float = Field(description="prediction less what it would be with others' rows")
    against: str


def explain_in_words(
    asked: Asked,
    tokenizer: Tokenizer,
    tensors: TaskTensors,
    asked_B: Array,
    *,
    reference: Reference | None = None,
    most: int = MOST_REASONS,
) -> list[tuple[Reason, ...]]:
    """Reasons for each sample, the largest change first; fewer where little changes anything.

    ``reference`` is of training samples; without one, the samples at hand serve if they are enough.
    """
    every_B = np.arange(len(tensors.label_B))
    if reference is None and len(every_B) >= FEWEST_KNOWN:
        reference = learn_reference(asked, tokenizer, tensors, every_B)
    others_B = np.random.default_rng(0).permutation(every_B)[:MOST_AT_HAND]
    columns = {table.table: column_names(table) for table in tokenizer.tables}
    writer = _Writer(
        asked.task,
        effects_of(asked, tensors, asked_B, others_B, columns),
        gather_facts(tokenizer, tensors, asked_B),
        {one.fact: one for one in reference.facts} if reference else {},
    )

    def text_of(table: str, place: int) -> str:
        return newest_text(tokenizer, tensors, table, int(asked_B[place]))

    return [writer.reasons(place, most, text_of) for place in range(len(asked_B))]


class _Option(NamedTuple):
    """A fact that may be named, and how well it accounts for a change."""

    weight: float
    at: int
    value: float


class _Writer:
    """Chooses facts and writes sentences."""

    def __init__(
        self, task: TaskSpec, effects: Effects, facts: Facts, known: dict[Fact, FactReference]
    ) -> None:
        self.task, self.effects, self.facts, self.known = task, effects, facts, known

    def reasons(
        self, place: int, most: int, text_of: Callable[[str, int], str]
    ) -> tuple[Reason, ...]:
        """The entity's own columns one by one, other tables as wholes; the largest first."""
        change = {cause: float(change_B[place]) for cause, change_B in self.effects.change.items()}
        entity = self.task.entity_table
        causes = [cause for cause in change if (cause.table == entity) == bool(cause.column)]
        causes.sort(key=lambda cause: -abs(change[cause]))
        largest = abs(change[causes[0]]) if causes else 0.0
        least = max(0.05 * largest, 0.0 if self.task.kind.is_number else SMALL)
        kept = [cause for cause in causes[:most] if abs(change[cause]) > least]
        return tuple(self._reason(place, cause, change, text_of) for cause in kept)

    def _reason(
        self,
        place: int,
        cause: Cause,
        change: dict[Cause, float],
        text_of: Callable[[str, int], str],
    ) -> Reason:
        column = self._column(cause, change)
        found = self._best(place, cause.table, column, change[cause])
        fact = value = below = above = None
        if found is not None:
            fact, value = self.facts.facts[found.at], found.value
            below, above = self._standing(fact, value)
            rows = int(self.facts.rows_BK[place, found.at])
            named = describe(fact, value, rows) + self._stands(fact, below, above)
        else:
            text = text_of(cause.table, place) if cause.table != self.task.entity_table else ""
            named = self._whole(place, cause, column, text)
        return Reason(
            text=f"{named}: {self._moves(cause.table, change[cause])}",
            table=cause.table,
            column=cause.column or column,
            fact=fact,
            value=value,
            below=below,
            above=above,
            change=change[cause],
            against=self.effects.against,
        )

    def _column(self, cause: Cause, change: dict[Cause, float]) -> str:
        """The column that makes at least half of a table's change by itself; else none."""
        if cause.column:
            return cause.column
        own = {
            c.column: value for c, value in change.items() if c.table == cause.table and c.column
        }
        same = {name: value for name, value in own.items() if value * change[cause] > 0}
        best = max(same, key=lambda name: abs(same[name]), default="")
        return best if best and abs(same[best]) >= 0.5 * abs(change[cause]) else ""

    def _best(self, place: int, table: str, column: str, change: float) -> _Option | None:
        """The fact whose usual effect goes furthest this way; an own column speaks for itself."""
        options = []
        for at, fact in enumerate(self.facts.facts):
            value = float(self.facts.value_BK[place, at])
            fits = fact.table == table and (not column or fact.column == column)
            if not fits or not math.isfinite(value) or (fact.kind == "own_value" and value != 1):
                continue
            one = self.known.get(fact)
            weight = one.usual(value) * math.copysign(1, change) if one else 0.0
            options.append(_Option(weight, at, value))
        if not options:
            return None
        best = max(options, key=lambda option: (option.weight, -option.at))
        if table == self.task.entity_table or best.weight > 0:
            return best
        if not column:
            # Nothing is known of what usually goes with it: a count is at least true.
            return best if not self.known else None
        # The column is known to matter, so what stands out in it is worth telling.
        return max(options, key=lambda option: (self._stands_out(option), -option.at))

    def _stands_out(self, option: _Option) -> float:
        fact = self.facts.facts[option.at]
        below, above = self._standing(fact, option.value)
        if fact.kind == "share" and option.value == 0:
            return -1.0
        return 0.0 if below is None or above is None else abs(below - above)

    def _whole(self, place: int, cause: Cause, column: str, text: str) -> str:
        """A table of which no single fact accounts for the change."""
        rows = next(
            (int(self.facts.rows_BK[place, at])
             for at, fact in enumerate(self.facts.facts) if fact.table == cause.table), 0,
        )  # fmt: skip
        if text and rows:
            return f'{counted(rows, cause.table)}, the newest says "{text}"'
        what = f"{column} of " if column else ""
        return f"{what}{counted(rows, cause.table)}, taken together"

    def _standing(self, fact: Fact, value: float) -> tuple[float | None, float | None]:
        one = self.known.get(fact)
        return standing(one.quantiles, value) if one and one.quantiles else (None, None)

    def _stands(self, fact: Fact, below: float | None, above: float | None) -> str:
        if below is None or above is None or fact.kind == "own_value":
            return ""
        more, less = COMPARED[fact.kind]
        if max(below, above) < 0.5:
            return f" (like most {self.task.entity_table})"
        word, share = (more, below) if below >= above else (less, above)
        shown = "nearly all" if share > 0.985 else f"{100 * share:.0f} % of"
        return f" ({word} {shown} {self.task.entity_table})"

    def _moves(self, table: str, change: float) -> str:
        against = "compared with others"
        if self.effects.against == "nothing":
            against = f"compared with knowing nothing of {table}"
        word = "raises" if change > 0 else "lowers"
        return f"{word} {told_outcome(self.task)} by {told_size(self.task, change)} {against}"
