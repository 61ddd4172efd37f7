"""The classifier two-sample test: can rows of now be told from rows of then?

D. Lopez-Paz and M. Oquab, Revisiting classifier two-sample tests, ICLR 2017 (section 3).
DIFFERS: area under the ROC curve in place of accuracy, with Mann and Whitney's p-value on rows the
classifier has not seen; it needs no threshold. Boosted trees, as columns are of all kinds.
It sees what columns do together, which no test of one column does.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from nexus_pipeline.monitor.distances import Array, Tested

ROUNDS, MOST, LEAST, MOST_CODES = 60, 2_000, 100, 100
DRAWS = 200


class ToldApart(NamedTuple):
    """Held-out AUROC with its 95 % interval, p-value, and the columns the trees used most."""

    tested: Tested
    low: float
    high: float
    by: tuple[str, ...]


def tell_apart(
    reference: Mapping[str, Array],
    current: Mapping[str, Array],
    groups: tuple[Array, Array] | None = None,
    seed: int = 0,
) -> ToldApart | None:
    """Train on half of the rows of each side, equally many, and rank the others.

    Columns are arrays of numbers, or of objects (categories, None where missing). ``groups`` say
    which rows belong together, by side: a group is learned from or ranked, never both, or the
    classifier would recognise its members. None with fewer than ``LEAST`` rows on a side.
    """
    from lightgbm import LGBMClassifier
    from scipy.stats import mannwhitneyu  # type: ignore[import-untyped]

    from nexus_model.evaluate.bootstrap import interval

    rng = np.random.default_rng(seed)
    picked = _picked(rng, reference, current)
    if picked is None or not reference:
        return None
    features, codes = _features(reference, current, picked)
    side = np.repeat([0, 1], [len(picked[0]), len(picked[1])])
    learned = _half(rng, side, groups, picked)
    if min(np.bincount(side[learned], minlength=2).min(), (~learned).sum()) < LEAST // 4:
        return None
    model = LGBMClassifier(
        n_estimators=ROUNDS, num_leaves=15, learning_rate=0.1, min_child_samples=20,
        random_state=seed, n_jobs=1, deterministic=True, force_row_wise=True, verbosity=-1,
    )  # fmt: skip
    model.fit(features[learned], side[learned], categorical_feature=codes)
    score, truth = model.predict_proba(features[~learned])[:, 1], side[~learned]
    if len(np.unique(truth)) < 2:
        return None
    p = mannwhitneyu(score[truth == 1], score[truth == 0], alternative="greater").pvalue
    found = interval("auroc", score, truth, None, draws=DRAWS)
    gain = model.booster_.feature_importance("gain")
    names, used = list(reference), np.argsort(-gain, kind="stable")[:3]
    by = tuple(names[index] for index in used if gain[index] > 0)
    return ToldApart(Tested(found.estimate, float(p)), found.low, found.high, by)


def _picked(
    rng: np.random.Generator, reference: Mapping[str, Array], current: Mapping[str, Array]
) -> tuple[Array, Array] | None:
    """Row numbers of either side, equally many."""
    rows = [len(next(iter(side.values()), ())) for side in (reference, current)]
    if min(rows) < LEAST:
        return None
    then, now = (np.sort(rng.permutation(count)[: min(*rows, MOST)]) for count in rows)
    return then, now


def _half(
    rng: np.random.Generator,
    side: Array,
    groups: tuple[Array, Array] | None,
    picked: tuple[Array, Array],
) -> Array:
    """Which rows are learned from: half of the groups, or of the rows of each side."""
    if groups is not None:
        own = np.concatenate([group[rows] for group, rows in zip(groups, picked, strict=True)])
        names, at = np.unique(own, return_inverse=True)
        return np.asarray((rng.permutation(len(names)) % 2 == 0)[at])
    learned = np.zeros(len(side), bool)
    for one in (0, 1):
        rows = np.flatnonzero(side == one)
        learned[rng.permutation(rows)[: len(rows) // 2]] = True
    return learned


def _features(
    reference: Mapping[str, Array], current: Mapping[str, Array], picked: tuple[Array, Array]
) -> tuple[Array, list[int]]:
    """One matrix of both sides, categories as codes of the frequent ones, and which are codes."""
    columns, codes = [], []
    for place, name in enumerate(reference):
        both = np.concatenate([reference[name][picked[0]], current[name][picked[1]]])
        if both.dtype == object:
            codes.append(place)
            both = _coded(both)
        columns.append(both.astype(np.float64))
    return np.column_stack(columns), codes


def _coded(values: Array) -> Array:
    """Codes by frequency; missing and rare ones have none."""
    text = np.array(["" if value is None else f"={value}" for value in values])
    names, at, counts = np.unique(text, return_inverse=True, return_counts=True)
    rank = np.empty(len(names))
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(names))
    rank[(rank >= MOST_CODES) | (names == "")] = np.nan
    return np.asarray(rank[at])
