"""What a model says when only some tables are a sample's own and the rest are another sample's.

B samples asked about, T tables. Each combination is asked once and kept, so importance, interaction
and effects of single predictions share the work.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch

from nexus_model.explain.exchanged import (
    OwnRows,
    draw_donors,
    exchanged,
    own_rows,
    with_column_of,
)
from nexus_model.explain.outcome import Asked
from nexus_model.tokenize.batch import RelBatch, TaskTensors

Array = np.ndarray
Tables = frozenset[str]
AT_ONCE = 256


class Coalitions:
    """Predictions by which tables are exchanged, of ``draws`` donors one after another.

    For a model whose answer depends on who is asked together, all samples exchange at once.
    """

    def __init__(
        self,
        asked: Asked,
        tensors: TaskTensors,
        chosen_B: Array,
        *,
        draws: int = 1,
        seed: int = 0,
        donors: Array | None = None,
    ) -> None:
        """``donors`` are ``[draws, B]`` places in ``chosen_B``; drawn at each cutoff if unset."""
        self.asked = asked
        self.own: OwnRows = own_rows(tensors, chosen_B, asked.model.config.parent_hops)
        self.label_B = np.asarray(tensors.label_B[chosen_B], np.float64)
        given = draw_donors(tensors.times, chosen_B, draws, seed) if donors is None else donors
        self.donors = given
        self._found: dict[Tables, Array] = {}

    @property
    def tables(self) -> tuple[str, ...]:
        """Tables that can be exchanged, the entity's own first."""
        return self.own.read_tables

    @property
    def asked_for(self) -> int:
        """How many combinations were asked so far."""
        return len(self._found)

    def predictions(self, foreign: Iterable[str] = ()) -> Array:
        """``[draws, B]`` (or ``[draws, B, Y]``) with these tables taken from the donors."""
        key = frozenset(foreign)
        if key not in self._found:
            donors = self.donors if key else self.donors[:1]
            self._found[key] = np.stack([self._predicted(key, donor_B) for donor_B in donors])
        found = self._found[key]
        return np.broadcast_to(found, (len(self.donors), *found.shape[1:]))

    def with_column(self, table: str, cell: int) -> Array:
        """``[draws, B]`` with the cells of one column taken from the donors, row by row."""

        def mixed(some_B: Array, donor_B: Array) -> RelBatch:
            return with_column_of(self.own, some_B, donor_B, table, cell)

        return np.stack([self._asked(mixed, donor_B) for donor_B in self.donors])

    def _predicted(self, foreign: Tables, donor_B: Array) -> Array:
        def mixed(some_B: Array, of_B: Array) -> RelBatch:
            return exchanged(self.own, some_B, dict.fromkeys(foreign, of_B))

        return self._asked(mixed, donor_B)

    def _asked(self, mixed: Callable[[Array, Array], RelBatch], donor_B: Array) -> Array:
        samples = np.arange(self.own.samples)
        at_once = len(samples) if self.asked.model.config.cohort else AT_ONCE
        parts = []
        with torch.no_grad():
            for start in range(0, len(samples), max(1, at_once)):
                some_B = samples[start : start + at_once]
                batch = mixed(some_B, donor_B[some_B])
                parts.append(self.asked.predictions(batch).cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros(0)


class Estimate(NamedTuple):
    """A mean and its percentile interval over draws of whole clusters."""

    value: float
    low: float
    high: float


def mean_estimate(
    value_B: Array,
    cluster_B: Array | None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean over samples; clusters (entities) are drawn with replacement, samples if None.

    With fewer than two clusters there is no interval: both ends are nan.

    >>> mean_estimate(np.array([1.0, 1.0, 4.0]), None).value
    2.0
    """
    value_B = np.asarray(value_B, np.float64)
    cluster = np.arange(len(value_B)) if cluster_B is None else cluster_B
    _, of_B = np.unique(cluster, return_inverse=True)
    count = int(of_B.max()) + 1 if len(of_B) else 0
    if count < 2:
        return Estimate(
            float(value_B.mean()) if len(value_B) else float("nan"), *[float("nan")] * 2
        )
    total, rows = np.bincount(of_B, weights=value_B), np.bincount(of_B)
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            total[drawn].sum(axis=1) / rows[drawn].sum(axis=1)
            for drawn in (generator.integers(count, size=(100, count)) for _ in range(draws // 100))
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value_B.mean()), float(low), float(high))
