"""A metric on many resamplings of clusters, kept, so that every pair of predictors shares them.

The draws are those of ``nexus_model.evaluate.bootstrap``; kept per predictor, they also give the
interval of a mean over seeds, and any difference without measuring anything twice.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nexus_model.evaluate.bootstrap import Interval, PairedDifference
from nexus_model.evaluate.metrics import Direction, direction_of, prepare

Array = NDArray[np.float64]
DRAWS, SEED, LEVEL = 2000, 0, 0.95
_CELLS_AT_ONCE = 2_000_000


class Drawn(NamedTuple):
    """A metric by seed, and on every draw its mean over the seeds."""

    metric: str
    by_seed: tuple[float, ...]
    on_draws: Array
    rows: int
    clusters: int

    @property
    def estimate(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.by_seed))

    @property
    def interval(self) -> Interval:
        """The mean with the percentile interval of its draws."""
        low, high = _percentiles(self.on_draws)
        return Interval(
            metric=self.metric,
            estimate=self.estimate,
            low=low,
            high=high,
            level=LEVEL,
            rows=self.rows,
            clusters=self.clusters,
        )

    def less(self, other: "Drawn") -> PairedDifference:
        """This metric less another's on the same draws, and how often this one is better."""
        differences = self.on_draws - other.on_draws
        low, high = _percentiles(differences)
        return PairedDifference(
            metric=self.metric,
            estimate=self.estimate - other.estimate,
            low=low,
            high=high,
            level=LEVEL,
            probability_better=_share_better(differences, direction_of(self.metric)),
            clusters=self.clusters,
        )


def draw_metric(
    metric: str,
    by_seed: Sequence[ArrayLike],
    label: ArrayLike,
    clusters: ArrayLike,
    draws: int = DRAWS,
) -> Drawn:
    """The metric of every seed's predictions, whole clusters drawn with replacement.

    Raises:
        ValueError: there are no predictions, or they are not finite.
    """
    if not len(by_seed):
        raise ValueError(f"{metric}: there are no predictions")
    measures = [prepare(metric, prediction, label) for prediction in by_seed]
    cluster = np.unique(np.asarray(clusters), return_inverse=True)[1]
    ones, count = np.ones((1, len(cluster))), int(cluster.max(initial=-1)) + 1
    on_draws = np.full(draws, np.nan)
    if count > 1:
        on_draws = np.concatenate(
            [
                np.mean([of(weight) for of in measures], axis=0)
                for weight in _weights(cluster, draws)
            ]
        )
    values = tuple(float(of(ones)[0]) for of in measures)
    return Drawn(metric, values, on_draws, len(cluster), count)


def _weights(cluster: NDArray[np.intp], draws: int) -> Iterator[Array]:
    generator, clusters = np.random.default_rng(SEED), int(cluster.max()) + 1
    for start in range(0, draws, step := max(1, _CELLS_AT_ONCE // len(cluster))):
        several = min(step, draws - start)
        drawn = generator.integers(clusters, size=(several, clusters))
        drawn += clusters * np.arange(several)[:, None]
        times = np.bincount(drawn.ravel(), minlength=several * clusters)
        yield times.reshape(several, clusters).astype(np.float64)[:, cluster]


def _percentiles(drawn: Array) -> tuple[float, float]:
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _share_better(drawn: Array, direction: Direction) -> float:
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return float("nan")
    better = defined < 0 if direction is Direction.MIN else defined > 0
    return float(better.mean() + (defined == 0).mean() / 2)
