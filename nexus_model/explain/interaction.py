"""Which two tables say something together that neither says alone.

B samples. ``f`` is the score, ``f_t`` with table ``t`` exchanged, ``f_tu`` with both, from the same
donor. ``f - f_t - f_u + f_tu`` is zero where the score is a sum of a part of ``t`` and one of ``u``
(Friedman and Popescu 2008, section 8.1, for features); its spread is the strength. A network is
never exactly a sum, so strength alone finds every pair: a pair counts where leaving that part out
of the score (``f_t + f_u - f_tu`` in its place) makes known labels more surprising. Intervals are
wide enough for all pairs together.
"""

from itertools import combinations

import numpy as np
import torch
from pydantic import Field

from nexus_model.explain.coalitions import Coalitions, mean_estimate
from nexus_model.explain.outcome import losses
from nexus_model.schema import Record, TaskKind

Array = np.ndarray


class PairInteraction(Record):
    """Two tables: how far the score is from a sum of both, and what that part saves in loss."""

    tables: tuple[str, str]
    strength: float = Field(description="root mean square of the joint part, in score units")
    gain: float = Field(description="loss without the joint part less loss with it")
    low: float
    high: float

    @property
    def found(self) -> bool:
        """Whether the labels support it: the interval of the gain is above zero."""
        return self.low > 0


class Interactions(Record):
    """Every pair, the largest gain first; ``level`` is that of all intervals together."""

    unit: str
    samples: int
    draws: int
    level: float
    pairs: tuple[PairInteraction, ...]


def table_interactions(
    found: Coalitions, cluster_B: Array | None = None, *, level: float = 0.95
) -> Interactions:
    """Joint against single exchange for every pair of tables."""
    pairs = list(combinations(found.tables, 2))
    each = 1 - (1 - level) / max(1, len(pairs))
    whole = _scores(found, ())
    rows = []
    for first, second in pairs:
        alone = _scores(found, (first,)) + _scores(found, (second,))
        apart = (alone - _scores(found, (first, second))).mean(axis=0)
        gain_B = _loss(found, apart) - _loss(found, whole[0])
        gain = mean_estimate(gain_B, cluster_B, level=each)
        strength = float(np.sqrt(np.mean((whole[0] - apart) ** 2)))
        rows.append(
            PairInteraction(
                tables=(first, second), strength=strength, gain=gain.value, low=gain.low,
                high=gain.high,
            )
        )  # fmt: skip
    return Interactions(
        unit="label units" if found.asked.task.kind.is_number else "nats",
        samples=found.own.samples,
        draws=len(found.donors),
        level=level,
        pairs=tuple(sorted(rows, key=lambda row: -row.gain)),
    )


def _scores(found: Coalitions, foreign: tuple[str, ...]) -> Array:
    """``[draws, B]``; of several classes, the log odds of the one that happened."""
    happened_B = torch.from_numpy(np.nan_to_num(found.label_B)).long()
    return np.stack(
        [
            found.asked.scores(torch.from_numpy(np.array(one, np.float64)), happened_B)
            for one in found.predictions(foreign)
        ]
    )


def _loss(found: Coalitions, score_B: Array) -> Array:
    """Loss of a score; several classes as the one that happened against the rest."""
    task = found.asked.task
    if task.kind.is_number:
        return np.abs(score_B - found.label_B)
    chance_B = 1 / (1 + np.exp(-score_B))
    label_B = found.label_B if task.kind is TaskKind.BINARY else np.ones_like(score_B)
    return losses(task.model_copy(update={"kind": TaskKind.BINARY}), chance_B, label_B)
