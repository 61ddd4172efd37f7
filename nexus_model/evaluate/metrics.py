"""Metrics: pure functions of prediction and label, and which of them belong to which task.

Predictions are ``float [n]`` (regression), the probability of class 1 ``[n]`` (binary),
probabilities ``[n, classes]`` (multiclass) or quantiles ``[n, levels]``, rising; labels are
``float [n]``, a class index for multiclass. Metrics of quantiles need their levels, so a metric is
asked of a task; a name alone stands for a metric that needs none.
A metric that is not defined for its rows (AUROC of one class, R2 of one label value, anything of no
rows) is nan, without a warning.
"""

from enum import StrEnum
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import ArrayLike

from nexus_model.evaluate import weighted
from nexus_model.evaluate.weighted import Array, LevelMaker, Maker, Measure
from nexus_model.schema import TaskKind, TaskSpec


class Direction(StrEnum):
    """Which way a metric is better."""

    MIN = "min"
    MAX = "max"


class Metric(NamedTuple):
    """A metric's name, which way it is better, and of quantiles the levels they are of."""

    name: str
    direction: Direction
    levels: tuple[float, ...] = ()


_MAKERS: dict[str, tuple[Maker, Direction]] = {
    "mae": (weighted.absolute_error, Direction.MIN),
    "rmse": (weighted.root_squared_error, Direction.MIN),
    "r2": (weighted.explained_variance, Direction.MAX),
    "auroc": (weighted.rank_area, Direction.MAX),
    "average_precision": (weighted.precision_area, Direction.MAX),
    "log_loss": (weighted.surprise, Direction.MIN),
    "brier": (weighted.squared_probability_error, Direction.MIN),
    "accuracy": (weighted.share_right, Direction.MAX),
    "balanced_accuracy": (weighted.share_right_per_class, Direction.MAX),
    "ece": (weighted.calibration_error, Direction.MIN),
}

_LEVEL_MAKERS: dict[str, tuple[LevelMaker, Direction]] = {
    "pinball": (weighted.pinball_error, Direction.MIN),
    "coverage_error": (weighted.coverage_gap, Direction.MIN),
    "interval_width": (weighted.outermost_width, Direction.MIN),
    "mae": (weighted.median_error, Direction.MIN),
}
CALIBRATION = ("ece", "coverage_error")
MEDIAN = 0.5


def metrics_of(task: TaskSpec) -> tuple[Metric, ...]:
    """The metrics reported for a task, the primary one first.

    Of quantiles: an interval has a width if there are two levels at least, and an absolute error
    judges a median, so it is there if one of the levels is.

    >>> task = TaskSpec(name="spend", kind=TaskKind.REGRESSION, entity_table="shops")
    >>> [metric.name for metric in metrics_of(task)]
    ['mae', 'rmse', 'r2']
    """
    levels = task.quantiles
    return tuple(Metric(name, direction_of(name), levels) for name in _names(task))


def _names(task: TaskSpec) -> tuple[str, ...]:
    match task.kind:
        case TaskKind.REGRESSION:
            return "mae", "rmse", "r2"
        case TaskKind.QUANTILE:
            width = ("interval_width",) * (len(task.quantiles) > 1)
            return "pinball", "coverage_error", *width, *("mae",) * (MEDIAN in task.quantiles)
        case TaskKind.BINARY:
            return "auroc", "average_precision", "log_loss", "brier", "accuracy", "ece"
        case TaskKind.MULTICLASS:
            return "log_loss", "accuracy", "balanced_accuracy", "brier", "ece"
        case _ as unreachable:
            assert_never(unreachable)


def direction_of(metric: str) -> Direction:
    """Which way the named metric is better."""
    return (_MAKERS | _LEVEL_MAKERS)[metric][1]


def primary_metric(task: TaskSpec) -> Metric:
    """The metric that chooses: of epochs, of baselines, of models.

    >>> primary_metric(TaskSpec(name="again", kind=TaskKind.BINARY, entity_table="shops")).name
    'auroc'
    """
    return metrics_of(task)[0]


def as_metric(metric: Metric | str) -> Metric:
    """A metric; a name stands for one that needs no levels.

    Raises:
        ValueError: there is no such metric, or it is one of quantiles and their levels are missing.
    """
    found = metric if isinstance(metric, Metric) else None
    name = metric.name if isinstance(metric, Metric) else metric
    if name not in (_LEVEL_MAKERS if found and found.levels else _MAKERS):
        if name in _LEVEL_MAKERS:
            raise ValueError(f"metric {name!r} needs the levels of its quantiles: ask metrics_of")
        raise ValueError(f"metric must be one of {sorted(_MAKERS | _LEVEL_MAKERS)}, got {name!r}")
    return found or Metric(name, direction_of(name))


def prepare(metric: Metric | str, prediction: ArrayLike, label: ArrayLike) -> Measure:
    """The metric of these rows as a function of row weights ``[draws, rows]``.

    Raises:
        ValueError: no such metric, lengths differ, or a value is nan or infinite.
    """
    name, _, levels = as_metric(metric)
    said = np.asarray(prediction, dtype=np.float64)
    happened = np.asarray(label, dtype=np.float64)
    if happened.ndim != 1 or len(said) != len(happened):
        raise ValueError(f"got predictions {said.shape} for labels {happened.shape}")
    if not (np.isfinite(said).all() and np.isfinite(happened).all()):
        raise ValueError(f"{name}: predictions and labels must be finite")
    if not levels:
        return _MAKERS[name][0](said, happened)
    if said.shape != (len(happened), len(levels)):
        raise ValueError(f"{name}: got predictions {said.shape} for {len(levels)} levels")
    return _LEVEL_MAKERS[name][0](said, happened, np.array(levels))


def measure(metric: Metric | str, prediction: ArrayLike, label: ArrayLike) -> float:
    """The metric of these rows."""
    rows: Array = np.ones((1, len(np.asarray(label))))
    return float(prepare(metric, prediction, label)(rows)[0])


def mae(prediction: ArrayLike, label: ArrayLike) -> float:
    """Mean absolute error.

    >>> mae([1.0, 4.0], [2.0, 2.0])
    1.5
    """
    return measure("mae", prediction, label)


def rmse(prediction: ArrayLike, label: ArrayLike) -> float:
    """Root of the mean squared error."""
    return measure("rmse", prediction, label)


def r2(prediction: ArrayLike, label: ArrayLike) -> float:
    """One less squared error over the labels' spread; nan when the labels are all the same."""
    return measure("r2", prediction, label)


def auroc(prediction: ArrayLike, label: ArrayLike) -> float:
    """Area under the ROC curve, ties counted one half; nan when only one class occurs.

    >>> auroc([0.1, 0.5, 0.5, 0.9], [0, 0, 1, 1])
    0.875
    """
    return measure("auroc", prediction, label)


def average_precision(prediction: ArrayLike, label: ArrayLike) -> float:
    """Precision at each threshold weighted by added recall; nan without a positive row."""
    return measure("average_precision", prediction, label)


def log_loss(prediction: ArrayLike, label: ArrayLike) -> float:
    """Mean of minus the log probability of the label, in nats."""
    return measure("log_loss", prediction, label)


def brier(prediction: ArrayLike, label: ArrayLike) -> float:
    """Mean squared error of the probabilities, summed over classes when there are several."""
    return measure("brier", prediction, label)


def accuracy(prediction: ArrayLike, label: ArrayLike) -> float:
    """Share of rows whose likeliest class is the label."""
    return measure("accuracy", prediction, label)


def balanced_accuracy(prediction: ArrayLike, label: ArrayLike) -> float:
    """Accuracy within each class that occurs, then the mean over classes."""
    return measure("balanced_accuracy", prediction, label)


def ece(prediction: ArrayLike, label: ArrayLike) -> float:
    """Expected calibration error over ten bins of equal width."""
    return measure("ece", prediction, label)


def score(task: TaskSpec, prediction: ArrayLike, label: ArrayLike) -> dict[str, float]:
    """Every metric of a task by name, the primary one first.

    >>> task = TaskSpec(name="spend", kind=TaskKind.REGRESSION, entity_table="shops")
    >>> score(task, [1.0, 2.0], [1.0, 4.0])["mae"]
    1.0
    """
    return {metric.name: measure(metric, prediction, label) for metric in metrics_of(task)}
