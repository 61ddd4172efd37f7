"""How sure a metric is: the bootstrap clustered by cutoff.

Samples of one cutoff share the same weather, so whole cutoffs are drawn, not samples. Where every
sample is its own cluster, or there are none, samples are drawn.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BeforeValidator, Field

from nexus_model.evaluate.metrics import Direction, Metric, as_metric, direction_of, prepare
from nexus_model.evaluate.weighted import Array
from nexus_model.schema import Record

# JSON has no nan; it is written as null and read back.
Number = Annotated[float, BeforeValidator(lambda value: float("nan") if value is None else value)]

_CELLS_AT_ONCE = 2_000_000


class Interval(Record):
    """A metric with the percentile interval of its bootstrap draws; nan bounds if one cluster."""

    metric: str
    estimate: Number
    low: Number
    high: Number
    level: float = Field(gt=0, lt=1)
    rows: int
    clusters: int


class PairedDifference(Record):
    """Metric of ``a`` less metric of ``b`` on the same draws, and how often ``a`` is better."""

    metric: str
    estimate: Number
    low: Number
    high: Number
    level: float = Field(gt=0, lt=1)
    probability_better: Number = Field(description="share of draws in which a is better; ties half")
    clusters: int


class Drawn(NamedTuple):
    """A metric by run, and on every draw its mean over the runs; draws are alike for equal seeds,
    so any two predictors of the same rows can be compared without measuring anything twice.
    """

    metric: str
    by_run: tuple[float, ...]
    on_draws: Array
    rows: int
    clusters: int

    @property
    def estimate(self) -> float:
        """Mean over the runs."""
        return float(np.mean(self.by_run))

    def interval(self, level: float = 0.95) -> Interval:
        """The mean with the percentile interval of its draws."""
        low, high = _percentiles(self.on_draws, level)
        return Interval(
            metric=self.metric,
            estimate=self.estimate,
            low=low,
            high=high,
            level=level,
            rows=self.rows,
            clusters=self.clusters,
        )

    def less(self, other: "Drawn", level: float = 0.95) -> PairedDifference:
        """This metric less another's on the same draws, and how often this one is better."""
        differences = self.on_draws - other.on_draws
        low, high = _percentiles(differences, level)
        return PairedDifference(
            metric=self.metric,
            estimate=self.estimate - other.estimate,
            low=low,
            high=high,
            level=level,
            probability_better=_share_better(differences, direction_of(self.metric)),
            clusters=self.clusters,
        )


def draw_metric(
    metric: Metric | str,
    by_run: Sequence[ArrayLike],
    label: ArrayLike,
    clusters: ArrayLike | None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Drawn:
    """The metric of every run's predictions, and on ``draws`` resamplings of whole clusters.

    Raises:
        ValueError: there are no predictions, or they are not finite.
    """
    if not len(by_run):
        raise ValueError(f"{as_metric(metric).name}: needs predictions of at least one training")
    measures = [prepare(metric, prediction, label) for prediction in by_run]
    cluster = _cluster_of_row(clusters, len(np.asarray(label)))

    def mean(weight: Array) -> Array:
        return np.asarray(np.mean([measure(weight) for measure in measures], axis=0))

    ones = np.ones((1, len(cluster)))
    return Drawn(
        metric=as_metric(metric).name,
        by_run=tuple(float(measure(ones)[0]) for measure in measures),
        on_draws=_over_draws(mean, cluster, draws, seed),
        rows=len(cluster),
        clusters=_count(cluster),
    )


def interval(
    metric: Metric | str,
    prediction: ArrayLike,
    label: ArrayLike,
    clusters: ArrayLike | None,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The metric and its interval from ``draws`` resamplings of clusters with replacement."""
    drawn = draw_metric(metric, [prediction], label, clusters, draws=draws, seed=seed)
    return drawn.interval(level)


def paired_difference(
    metric: Metric | str,
    a: ArrayLike,
    b: ArrayLike,
    label: ArrayLike,
    clusters: ArrayLike | None,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """How much better ``a`` predicts than ``b``, both seen on the same draws of clusters."""
    return mean_paired_difference(
        metric, [a], [b], label, clusters, draws=draws, seed=seed, level=level
    )


def mean_paired_difference(
    metric: Metric | str,
    several_a: Sequence[ArrayLike],
    several_b: Sequence[ArrayLike],
    label: ArrayLike,
    clusters: ArrayLike | None,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """As ``paired_difference`` for trainings repeated with other seeds: means of the metric differ.

    Raises:
        ValueError: one side has no predictions.
    """
    a, b = (
        draw_metric(metric, several, label, clusters, draws=draws, seed=seed)
        for several in (several_a, several_b)
    )
    return a.less(b, level)


def _cluster_of_row(clusters: ArrayLike | None, rows: int) -> NDArray[np.intp]:
    if clusters is None:
        return np.arange(rows)
    values: NDArray[Any] = np.asarray(clusters)
    if values.shape != (rows,):
        raise ValueError(f"clusters must be one per label, got {values.shape} for {rows} labels")
    return np.unique(values, return_inverse=True)[1].astype(np.intp)


def _count(cluster: NDArray[np.intp]) -> int:
    return int(cluster.max()) + 1 if len(cluster) else 0


def _over_draws(
    measure: Callable[[Array], Array], cluster: NDArray[np.intp], draws: int, seed: int
) -> Array:
    if _count(cluster) < 2:
        return np.full(draws, np.nan)
    return np.concatenate([measure(weight) for weight in _weights(cluster, draws, seed)])


def _weights(cluster: NDArray[np.intp], draws: int, seed: int) -> Iterator[Array]:
    generator = np.random.default_rng(seed)
    clusters = _count(cluster)
    for start in range(0, draws, step := max(1, _CELLS_AT_ONCE // len(cluster))):
        several = min(step, draws - start)
        drawn = generator.integers(clusters, size=(several, clusters))
        drawn += clusters * np.arange(several)[:, None]
        times = np.bincount(drawn.ravel(), minlength=several * clusters)
        yield times.reshape(several, clusters).astype(np.float64)[:, cluster]


def _percentiles(drawn: Array, level: float) -> tuple[float, float]:
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _share_better(drawn: Array, direction: Direction) -> float:
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return float("nan")
    better = defined < 0 if direction is Direction.MIN else defined > 0
    return float(better.mean() + (defined == 0).mean() / 2)
