"""Blending: two predictors' answers become one, by a weight that validation samples choose.

Equal weights are hard to beat by weights that were estimated (Stock and Watson 2004, "Combination
forecasts of output growth", section 5), so a weight leaves a half only as far as it must: the rule
of one standard error (Breiman et al. 1984, section 3.4.3).

B samples, Y outputs.
"""

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from nexus_model.evaluate.bootstrap import Drawn, draw_metric
from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.schema import TaskKind, TaskSpec

Array = NDArray[np.float64]

WEIGHTS = tuple(tenth / 10 for tenth in range(11))
_SMALLEST = 1e-6


def blend(kind: TaskKind, first: Array, second: Array, weight: float) -> Array:
    """``weight`` of the first and the rest of the second: means of numbers, of log odds, of logs.

    Quantiles are averaged level by level, so they go on rising.

    >>> blend(TaskKind.REGRESSION, np.array([1.0]), np.array([2.0]), 0.25).tolist()
    [1.75]
    """
    match kind:
        case TaskKind.REGRESSION | TaskKind.QUANTILE:
            return weight * first + (1 - weight) * second
        case TaskKind.BINARY:
            odds_B = weight * _log_odds(first) + (1 - weight) * _log_odds(second)
            return np.asarray(1 / (1 + np.exp(-odds_B)))
        case TaskKind.MULTICLASS:
            logs_BY = weight * _log(first) + (1 - weight) * _log(second)
            shares_BY = np.exp(logs_BY - logs_BY.max(axis=1, keepdims=True))
            return np.asarray(shares_BY / shares_BY.sum(axis=1, keepdims=True))
        case _ as unreachable:
            assert_never(unreachable)


def best_weight(task: TaskSpec, first: Array, second: Array, label_B: Array) -> float:
    """The weight with the best primary metric; of equal ones the one nearest to a half."""
    metric = primary_metric(task)
    sign = 1 if metric.direction is Direction.MAX else -1
    scores = {
        w: sign * measure(metric, blend(task.kind, first, second, w), label_B) for w in WEIGHTS
    }
    best = max(scores.values())
    return min((w for w in WEIGHTS if scores[w] == best), key=lambda w: abs(w - 0.5))


def steady_weight(
    task: TaskSpec, first: Array, second: Array, label_B: Array, moment_B: NDArray[np.int64]
) -> float:
    """Of the weights not worse than the best by more than a standard error, the nearest to a half.

    The error is that of the difference, over draws of whole moments: ``moment_B`` is that whose
    data a sample is of. One moment says nothing of how a weight fares at another: it gives a half.
    """
    if len(np.unique(moment_B)) < 2:
        return 0.5
    metric = primary_metric(task)
    sign = 1 if metric.direction is Direction.MAX else -1
    drawn = {
        weight: draw_metric(metric, [blend(task.kind, first, second, weight)], label_B, moment_B)
        for weight in WEIGHTS
    }
    best = drawn[best_weight(task, first, second, label_B)]

    def is_level(other: Drawn) -> bool:
        lost = sign * (best.estimate - other.estimate)
        return bool(lost <= np.nanstd(best.on_draws - other.on_draws))

    return min((w for w in WEIGHTS if is_level(drawn[w])), key=lambda w: abs(w - 0.5))


def _log(shares: Array) -> Array:
    return np.asarray(np.log(np.clip(shares, _SMALLEST, 1)))


def _log_odds(shares: Array) -> Array:
    clipped = np.clip(shares, _SMALLEST, 1 - _SMALLEST)
    return np.asarray(np.log(clipped / (1 - clipped)))
