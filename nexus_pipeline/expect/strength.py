"""Strength: how much of a label one column tells alone, from 0.5 or 0 (nothing) to 1 (all of it).

N samples. Binary labels: area under the ROC curve. Numbers: rank correlation. Classes: of what
guessing the most frequent class gets wrong, the share told right. A category is judged on samples
other than those its mean label is learned from, so that many rare values do not look strong.
"""

from typing import TypeAlias

import numpy as np

from nexus_model.schema import TaskKind

Array: TypeAlias = np.ndarray
_LEAST_SAMPLES, _LEAST_SHARE, _LEAST_OF_A_CLASS = 50, 0.1, 10
_BINS = 20


def strength_of_number(value_N: Array, label_N: Array, kind: TaskKind) -> float:
    """Strength of a column of numbers; NaN where a sample has none.

    >>> strength_of_number(np.arange(100.0), np.arange(100.0) > 49, TaskKind.BINARY)
    1.0
    """
    has_N = ~np.isnan(value_N)
    value_N, label_N = value_N[has_N], label_N[has_N].astype(float)
    if not _is_enough(label_N, len(has_N), kind) or np.ptp(value_N) == 0:
        return 0.0
    if kind is TaskKind.MULTICLASS:
        edges = np.unique(np.quantile(value_N, np.linspace(0, 1, _BINS + 1)[1:-1]))
        return _told_right(np.searchsorted(edges, value_N, side="right"), label_N)
    return _in_order(value_N, label_N, kind)


def strength_of_category(code_N: Array, label_N: Array, kind: TaskKind) -> float:
    """Strength of a column of categories, numbered from 0; -1 where a sample has none."""
    has_N = code_N >= 0
    code_N, label_N = code_N[has_N], label_N[has_N].astype(float)
    if not _is_enough(label_N, len(has_N), kind):
        return 0.0
    if kind is TaskKind.MULTICLASS:
        return _told_right(code_N, label_N)
    learn_N, judge_N = _halves(len(label_N))
    size = int(code_N.max()) + 1
    count_C = np.bincount(code_N[learn_N], minlength=size)
    sum_C = np.bincount(code_N[learn_N], label_N[learn_N], minlength=size)
    mean_C = np.where(count_C > 0, sum_C / np.maximum(count_C, 1), label_N[learn_N].mean())
    mean_N = mean_C[code_N[judge_N]]
    return 0.0 if np.ptp(mean_N) == 0 else _in_order(mean_N, label_N[judge_N], kind)


def _halves(count: int) -> tuple[Array, Array]:
    """Every other sample of a fixed shuffle: neighbours in time fall to both."""
    order = np.random.default_rng(0).permutation(count)
    return order[::2], order[1::2]


def _is_enough(label_N: Array, asked: int, kind: TaskKind) -> bool:
    """Whether there are samples enough to tell a leak from luck."""
    if len(label_N) < max(_LEAST_SAMPLES, _LEAST_SHARE * asked):
        return False
    if kind is TaskKind.BINARY:
        ones = int((label_N > 0).sum())
        return min(ones, len(label_N) - ones) >= _LEAST_OF_A_CLASS
    return bool(np.ptp(label_N) > 0)


def _in_order(value_N: Array, label_N: Array, kind: TaskKind) -> float:
    rank_N = _ranks(value_N)
    if kind is not TaskKind.BINARY:
        told = np.corrcoef(rank_N, _ranks(label_N))[0, 1] if np.ptp(label_N) else 0.0
        return float(abs(told))
    is_one_N = label_N > 0
    ones, zeros = int(is_one_N.sum()), int((~is_one_N).sum())
    if not ones or not zeros:
        return 0.0
    area = (rank_N[is_one_N].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(max(area, 1 - area))


def _ranks(value_N: Array) -> Array:
    """Ranks from 1; those of equal values are their mean.

    >>> _ranks(np.array([5.0, 7.0, 5.0])).tolist()
    [1.5, 3.0, 1.5]
    """
    _, place_N, count_V = np.unique(value_N, return_inverse=True, return_counts=True)
    last_V = np.cumsum(count_V)
    return np.asarray((last_V - (count_V - 1) / 2)[place_N])


def _told_right(code_N: Array, label_N: Array) -> float:
    """Of what the most frequent class gets wrong, the share that each value's own gets right."""
    class_N = np.unique(label_N, return_inverse=True)[1]
    learn_N, judge_N = _halves(len(label_N))
    count_CL = np.zeros((int(code_N.max()) + 1, int(class_N.max()) + 1))
    np.add.at(count_CL, (code_N[learn_N], class_N[learn_N]), 1)
    most = int(count_CL.sum(0).argmax())
    guess_C = np.where(count_CL.sum(1) > 0, count_CL.argmax(1), most)
    wrong_before = float((class_N[judge_N] != most).mean())
    wrong_now = float((guess_C[code_N[judge_N]] != class_N[judge_N]).mean())
    return max(0.0, 1 - wrong_now / wrong_before) if wrong_before else 0.0
