"""Every metric once, for many weightings of the same rows at a time.

A ``Measure`` takes weights ``[draws, rows]`` and gives ``[draws]`` values. Weights of one give the
plain metric, integer weights the metric of rows repeated so often: the bootstrap is the same code.
What depends on the rows alone (a sort, a loss per row) is worked out when the measure is made.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Measure = Callable[[Array], Array]
Maker = Callable[[Array, Array], Measure]
LevelMaker = Callable[[Array, Array, Array], Measure]

CALIBRATION_BINS = 10
_SMALLEST = 1e-12


def _ratio(part: Array, whole: Array) -> Array:
    # 0/0 is "not defined for these rows", which is what nan says.
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def mean_of(value: Array) -> Measure:
    """The weighted mean of one number per row."""
    return lambda weight: _ratio(weight @ value, weight.sum(axis=1))


def absolute_error(prediction: Array, label: Array) -> Measure:
    """Mean absolute error."""
    return mean_of(np.abs(prediction - label))


def root_squared_error(prediction: Array, label: Array) -> Measure:
    """Root of the mean squared error."""
    squared = mean_of((prediction - label) ** 2)
    return lambda weight: np.sqrt(squared(weight))


def explained_variance(prediction: Array, label: Array) -> Measure:
    """R2: one less the squared error over the labels' spread; nan where the labels are all one."""
    squared = mean_of((prediction - label) ** 2)
    centred = label - label.mean() if len(label) else label
    first, second = mean_of(centred), mean_of(centred**2)

    def measure(weight: Array) -> Array:
        spread = second(weight) - first(weight) ** 2
        # A spread of rounding errors only is a constant label.
        spread = np.where(spread > 1e-12 * second(weight), spread, 0.0)
        return np.asarray(1.0 - _ratio(squared(weight), spread))

    return measure


def _grouped(value: Array, starts: NDArray[np.intp]) -> Array:
    if len(starts) == value.shape[1]:
        return value
    return np.asarray(np.add.reduceat(value, starts, axis=1))


def _in_order(prediction: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    order = np.argsort(prediction, kind="stable")
    ranked = prediction[order]
    return order, np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]][: len(ranked)])


def rank_area(prediction: Array, label: Array) -> Measure:
    """AUROC: how often a positive row is ranked above a negative one, a tie counting one half."""
    order, starts = _in_order(prediction)
    positive = label[order] > 0.5

    def measure(weight: Array) -> Array:
        if not len(order):
            return np.full(len(weight), np.nan)
        ranked = weight[:, order]
        above = _grouped(ranked * positive, starts)
        below = _grouped(ranked * ~positive, starts)
        passed = np.cumsum(below, axis=1) - below / 2
        return _ratio((above * passed).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))

    return measure


def precision_area(prediction: Array, label: Array) -> Measure:
    """Average precision: precision at each threshold, weighted by the recall it adds."""
    order, starts = _in_order(-prediction)
    positive = label[order] > 0.5

    def measure(weight: Array) -> Array:
        if not len(order):
            return np.full(len(weight), np.nan)
        ranked = weight[:, order]
        gained, seen = _grouped(ranked * positive, starts), _grouped(ranked, starts)
        precision = np.cumsum(gained, axis=1) / np.maximum(np.cumsum(seen, axis=1), _SMALLEST)
        return _ratio((precision * gained).sum(axis=1), gained.sum(axis=1))

    return measure


def _probability_of_label(prediction: Array, label: Array) -> Array:
    if prediction.ndim == 1:
        return np.where(label > 0.5, prediction, 1.0 - prediction)
    return np.asarray(prediction[np.arange(len(label)), label.astype(np.intp)])


def surprise(prediction: Array, label: Array) -> Measure:
    """Log loss: minus the log of the probability given to what happened, in nats."""
    return mean_of(-np.log(np.clip(_probability_of_label(prediction, label), _SMALLEST, 1.0)))


def squared_probability_error(prediction: Array, label: Array) -> Measure:
    """Brier score; for several classes the squared errors are summed over the classes."""
    if prediction.ndim == 1:
        return mean_of((prediction - label) ** 2)
    happened = np.eye(prediction.shape[1])[label.astype(np.intp)]
    return mean_of(((prediction - happened) ** 2).sum(axis=1))


def _is_right(prediction: Array, label: Array) -> Array:
    if prediction.ndim == 1:
        return np.asarray((prediction >= 0.5) == (label > 0.5), dtype=np.float64)
    return np.asarray(prediction.argmax(axis=1) == label, dtype=np.float64)


def share_right(prediction: Array, label: Array) -> Measure:
    """Accuracy: the likeliest class is the label; a binary probability counts from one half up."""
    return mean_of(_is_right(prediction, label))


def share_right_per_class(prediction: Array, label: Array) -> Measure:
    """Balanced accuracy: accuracy within each class that occurs, then the mean over classes."""
    right = _is_right(prediction, label)
    member = (label[:, None] == np.unique(label)[None, :]).astype(np.float64)

    def measure(weight: Array) -> Array:
        seen = weight @ member
        recall = np.divide(weight @ (member * right[:, None]), np.maximum(seen, _SMALLEST))
        return _ratio(recall.sum(axis=1), (seen > 0).sum(axis=1).astype(np.float64))

    return measure


def calibration_error(prediction: Array, label: Array) -> Measure:
    """ECE over ten bins of equal width: the gap between said and happened, weighted by rows.

    Binary: probability of class 1 against its frequency. Several classes: the likeliest class's
    probability against how often it is right.
    """
    said = prediction if prediction.ndim == 1 else prediction.max(axis=1)
    happened = label if prediction.ndim == 1 else _is_right(prediction, label)
    place = np.clip((said * CALIBRATION_BINS).astype(np.intp), 0, CALIBRATION_BINS - 1)
    gap = np.eye(CALIBRATION_BINS)[place] * (said - happened)[:, None]
    return lambda weight: _ratio(np.abs(weight @ gap).sum(axis=1), weight.sum(axis=1))


def pinball_error(prediction: Array, label: Array, levels: Array) -> Measure:
    """Pinball loss of quantiles ``[rows, levels]``, the mean over the levels.

    Koenker and Bassett 1978, "Regression quantiles".
    """
    missed = label[:, None] - prediction
    return mean_of(np.maximum(levels * missed, (levels - 1) * missed).mean(axis=1))


def is_held(prediction: Array, label: Array) -> Array:
    """1 where the label lies between the outermost quantiles, or is at most the only one."""
    held = label <= prediction[:, -1]
    if prediction.shape[1] > 1:
        held &= label >= prediction[:, 0]
    return np.asarray(held, dtype=np.float64)


def promised_share(levels: Array) -> float:
    """The share of labels that ``is_held`` should find.

    >>> promised_share(np.array([0.1, 0.5, 0.9])), promised_share(np.array([0.9]))
    (0.8, 0.9)
    """
    return round(float(levels[-1] - levels[0] if len(levels) > 1 else levels[0]), 12)


def coverage_gap(prediction: Array, label: Array, levels: Array) -> Measure:
    """How far the share of labels that are held is from the one promised, either way."""
    share, promised = mean_of(is_held(prediction, label)), promised_share(levels)
    return lambda weight: np.abs(share(weight) - promised)


def outermost_width(prediction: Array, label: Array, levels: Array) -> Measure:  # noqa: ARG001 - all makers are called alike
    """Mean distance from the lowest quantile to the highest."""
    return mean_of(prediction[:, -1] - prediction[:, 0])


def median_error(prediction: Array, label: Array, levels: Array) -> Measure:
    """Mean absolute error of the quantile nearest to the median."""
    return absolute_error(prediction[:, int(np.abs(levels - 0.5).argmin())], label)
