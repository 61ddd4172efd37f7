"""Rows that belong together count for less: design effects.

Forty results of two races say less than forty races. Kish's design effect (L. Kish, Survey
Sampling, 1965, section 5.4) is how many rows are as good as one: 1 + (rows of a group - 1) times
their correlation. Dividing counts by it before a chi-squared test is Rao and Scott's first-order
correction (Annals of Statistics 12, 1984).

DIFFERS from Kish: rows belong to groups of several kinds at once, and the largest effect counts;
groups that are on both sides are left out, as they make two samples more alike, not less.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nexus_pipeline.monitor.distances import Array

KEY = "_key_"
SHARED = 0.5
ENOUGH = 5


class Groups(NamedTuple):
    """One kind of groups: the group of every row as a number, of the reference and of now."""

    reference: Array
    current: Array

    @property
    def fewest(self) -> int:
        """Groups of the side that has fewer."""
        return min(len(np.unique(side)) for side in self)


class Effects(NamedTuple):
    """Rows as good as one, of the reference and of now."""

    reference: float = 1.0
    current: float = 1.0


def own_groups(then: pa.Table, now: pa.Table) -> tuple[Groups, ...]:
    """Groups by key and by day that one side has for itself: most rows of now are in new ones."""
    found = []
    for name in then.column_names:
        if not name.startswith(KEY) or name not in now.column_names:
            continue
        former, newer = (np.array(side[name].to_pylist(), dtype=str) for side in (then, now))
        if len(newer) and np.isin(newer, former).mean() < SHARED:
            found.append(as_groups(former, newer))
    return tuple(found)


def as_groups(former: Array, newer: Array) -> Groups:
    """Groups by name as numbers."""
    codes = np.unique(np.concatenate([former, newer]), return_inverse=True)[1]
    return Groups(codes[: len(former)], codes[len(former) :])


def of_known(groups: tuple[Groups, ...], known: tuple[Array, Array]) -> tuple[Groups, ...]:
    """The groups of the rows that are known, by side."""
    return tuple(Groups(one.reference[known[0]], one.current[known[1]]) for one in groups)


def number_effects(reference: Array, current: Array, groups: tuple[Groups, ...]) -> Effects:
    """The largest effect over kinds of groups, of the ranks of both sides together."""
    from scipy.stats import rankdata  # type: ignore[import-untyped]

    if not groups or not len(reference) or not len(current):
        return Effects()
    rank = rankdata(np.concatenate([reference, current]))[:, None]
    return _largest(rank[: len(reference)], rank[len(reference) :], groups)


def category_effects(
    reference: Array, current: Array, groups: tuple[Groups, ...], most: int = 30
) -> Effects:
    """The same, of belonging to each of the frequent categories."""
    if not groups or not len(reference) or not len(current):
        return Effects()
    both = np.array([f"={value}" for value in (*reference, *current)])
    _, code, counts = np.unique(both, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    kept = min(most, len(counts))
    inside = np.eye(kept + 1)[np.minimum(rank[code], kept)]
    return _largest(inside[: len(reference)], inside[len(reference) :], groups)


def _largest(then: Array, now: Array, groups: tuple[Groups, ...]) -> Effects:
    found = [_effects(then, now, one) for one in groups]
    return Effects(max(one.reference for one in found), max(one.current for one in found))


def _effects(then: Array, now: Array, groups: Groups) -> Effects:
    """A side with few groups cannot tell how alike their rows are; the other side helps."""
    own = [correlation(values, group) for values, group in zip((then, now), groups, strict=True)]
    told = [value for value in own if value is not None]
    largest = max(told, default=1.0)
    sure = [len(np.unique(group)) >= ENOUGH for group in groups]
    used = [
        value if value is not None and enough else largest
        for value, enough in zip(own, sure, strict=True)
    ]
    return Effects(*(1 + (_size(group) - 1) * one for group, one in zip(groups, used, strict=True)))


def _size(group: Array) -> float:
    """Rows of the group that a row is in, on average."""
    sizes = np.unique(group, return_counts=True)[1]
    return float((sizes**2).sum() / max(1, len(group)))


def correlation(values: Array, group: Array) -> float | None:
    """How alike ``values[rows, kinds]`` of one group are, 0 to 1; None where one group is all.

    >>> correlation(np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([1, 1, 2, 2]))
    1.0
    >>> correlation(np.array([[0.0], [1.0], [0.0], [1.0]]), np.array([1, 1, 2, 2]))
    0.0
    """
    rows = len(values)
    _, at, sizes = np.unique(group, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return None
    if len(sizes) == rows:
        return 0.0
    centred = values - values.mean(axis=0)
    sums = np.stack([np.bincount(at, column) for column in centred.T], axis=1)
    between = float((sums**2 / sizes[:, None]).sum())
    within = max(float((centred**2).sum()) - between, 0.0) / (rows - len(sizes))
    between /= len(sizes) - 1
    usual = (rows - (sizes**2).sum() / rows) / (len(sizes) - 1)
    spread = between + (usual - 1) * within
    return float(np.clip((between - within) / spread, 0.0, 1.0)) if spread > 0 else 0.0
