"""How far apart two samples of one column are, and how surprising that is.

Numbers: the population stability index over bins of the reference's quantiles (N. Siddiqi, Credit
Risk Scorecards, 2006) and Kolmogorov and Smirnov's largest distance between distribution functions.
Categories: the same index over categories, and Pearson's chi-squared with Cramer's V (H. Cramer,
Mathematical Methods of Statistics, 1946, section 21.9). Missing is a bin of its own.

DIFFERS from Siddiqi: half a row is added to each bin, so that an empty one is no infinity.
DIFFERS from Cramer: V is that of two samples of equal size, so that it does not shrink because one
side has many more rows; the p-value is that of the rows there are.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias
from zlib import crc32

import numpy as np

Array: TypeAlias = np.ndarray
BINS, MOST_CATEGORIES = 10, 30
LEAST_EXPECTED = 5.0
OTHERS, MISSING = "(others)", "(missing)"


class Tested(NamedTuple):
    """A distance and the chance of one as large between samples of one population."""

    size: float
    p: float


class Binned(NamedTuple):
    """Rows by bin, of the reference and of now; the last bin is that of missing values."""

    names: tuple[str, ...]
    reference: Array
    current: Array


NOTHING = Tested(0.0, 1.0)


def stability_index(binned: Binned) -> float:
    """PSI: the sum over bins of (now - then) ln(now / then); 0 where either side has no rows.

    Of two samples of one population it is about (bins - 1) (1 / rows + 1 / rows) (B. Yurdakul and
    J. Naranjo, J. Risk Model Validation 14, 2020).

    >>> same = Binned(("a", "b", MISSING), np.array([5, 5, 0]), np.array([50, 50, 0]))
    >>> round(stability_index(same._replace(current=np.array([90, 10, 0]))), 2)
    0.85
    """
    if not binned.reference.sum() or not binned.current.sum():
        return 0.0
    used = (binned.reference + binned.current) > 0
    then, now = (_smoothed(counts[used]) for counts in (binned.reference, binned.current))
    return float(((now - then) * np.log(now / then)).sum())


def _smoothed(counts: Array) -> Array:
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * len(counts)))


def bin_numbers(reference: Array, current: Array, bins: int = BINS) -> Binned:
    """Bins that each hold as many known numbers of the reference, as far as ties let them.

    >>> bin_numbers(np.arange(10.0), np.array([np.nan, 0.5]), bins=2).current.tolist()
    [1, 0, 1]
    """
    known = reference[np.isfinite(reference)]
    if not len(known):
        known = current[np.isfinite(current)]
    inner = (
        np.unique(np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf"))
        if len(known)
        else known
    )
    edges = [float(edge) for edge in inner]
    names = tuple(
        f"{low:.4g} to {high:.4g}" if np.isfinite(low) and np.isfinite(high)
        else (f"up to {high:.4g}" if np.isfinite(high) else f"over {low:.4g}")
        for low, high in zip([-np.inf, *edges], [*edges, np.inf], strict=True)
    )  # fmt: skip
    counts = [_in_bins(values, inner, len(names)) for values in (reference, current)]
    return Binned((*names, MISSING), *counts)


def _in_bins(values: Array, inner: Array, bins: int) -> Array:
    finite = np.isfinite(values)
    counts = np.bincount(np.searchsorted(inner, values[finite], side="left"), minlength=bins)
    return np.append(counts, len(values) - finite.sum())


def bin_categories(
    reference: Sequence[str | None], current: Sequence[str | None], most: int = MOST_CATEGORIES
) -> Binned:
    """The most frequent categories of both sides together, the others as one, and missing.

    Chosen from both sides, as categories that happen to be frequent on one side would look as if
    they got rarer on the other; equally frequent ones by a hash, as a name may tell the side.

    >>> bin_categories(["a", "a", "b"], ["a", None], most=1)[0]
    ('a', '(others)', '(missing)')
    """
    then, now = Counter(reference), Counter(current)
    lost = then.pop(None, 0), now.pop(None, 0)
    both = then + now
    kept = sorted(both, key=lambda name: (-both[name], crc32(str(name).encode()), name))[:most]
    counts = [
        np.array([side[name] for name in kept] + [side.total() - sum(side[n] for n in kept), gone])
        for side, gone in zip((then, now), lost, strict=True)
    ]
    return Binned((*map(str, kept), OTHERS, MISSING), *counts)


def unseen_share(reference: Sequence[str | None], current: Sequence[str | None]) -> float:
    """Share of the rows of now whose category the reference does not have; missing is none.

    >>> unseen_share(["a"], ["a", "b", None, "b"])
    0.5
    """
    known = {*reference, None}
    return sum(value not in known for value in current) / max(1, len(current))


def kolmogorov(
    reference: Array, current: Array, effects: tuple[float, float] = (1.0, 1.0)
) -> Tested:
    """Kolmogorov's distance of the known numbers and its asymptotic two-sided p-value.

    Ties make the p-value too large, never too small. ``effects`` are rows as good as one, by side.

    >>> kolmogorov(np.arange(100.0), np.arange(100.0) + 50).size
    0.5
    """
    from scipy.stats import ks_2samp, kstwo  # type: ignore[import-untyped]

    then, now = (values[np.isfinite(values)] for values in (reference, current))
    if len(then) < 2 or len(now) < 2:
        return NOTHING
    size = float(ks_2samp(then, now, method="asymp").statistic)
    rows = len(then) / effects[0], len(now) / effects[1]
    as_good = max(1, int(rows[0] * rows[1] / sum(rows)))
    return Tested(size, float(kstwo.sf(size, as_good)))


def association(binned: Binned, effects: tuple[float, float] = (1.0, 1.0)) -> Tested:
    """Cramer's V of side and bin, and the p-value of chi-squared.

    Bins in which fewer than five rows are expected on either side count as one. ``effects`` are
    rows as good as one, by side.

    >>> names = ("a", "b", MISSING)
    >>> same = Binned(names, np.array([50, 50, 0]), np.array([500, 500, 0]))
    >>> association(same)
    Tested(size=0.0, p=1.0)
    >>> round(association(same._replace(current=np.array([1000, 0, 0]))).size, 2)
    0.58
    """
    from scipy.stats import chi2_contingency

    sides = binned.reference / effects[0], binned.current / effects[1]
    counts = _not_rare(np.stack(sides).astype(np.float64))
    rows = counts.sum(axis=1)
    if counts.shape[1] < 2 or rows.min() == 0:
        return NOTHING
    then, now = counts / rows[:, None]
    size = float(np.sqrt(((then - now) ** 2 / (2 * (then + now))).sum()))
    return Tested(size, float(chi2_contingency(counts, correction=False).pvalue))


def _not_rare(counts: Array) -> Array:
    """``[2, bins]`` with the bins of few expected rows summed up into one."""
    whole = counts.sum()
    if whole == 0:
        return counts[:, :0]
    expected = counts.sum(axis=0) * counts.sum(axis=1).min() / whole
    rare = expected < LEAST_EXPECTED
    kept, summed = counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)
    return np.concatenate([kept, summed], axis=1) if summed.sum() else kept


def missing_change(
    reference: Array, current: Array, effects: tuple[float, float] = (1.0, 1.0)
) -> Tested:
    """Change of the share of missing among booleans "is missing", with the p-value of chi-squared.

    >>> missing_change(np.zeros(100, bool), np.arange(100) < 20)[0]
    0.2
    """
    if not len(reference) or not len(current):
        return NOTHING
    counts = [np.array([(~side).sum(), side.sum()]) for side in (reference, current)]
    change = float(current.mean() - reference.mean())
    return Tested(change, association(Binned(("known", MISSING), *counts), effects).p)


def volume_change(reference: Array, current: Array) -> Tested:
    """Rows a day now as a multiple of then; p by Mann and Whitney's test of the daily counts.

    Days are taken as they come: weekly rhythm on both sides does no harm, a trend is found.

    >>> volume_change(np.full(100, 10), np.full(20, 30)).size
    3.0
    """
    from scipy.stats import mannwhitneyu

    if not len(reference) or not len(current) or not reference.sum():
        return Tested(1.0, 1.0)
    found = mannwhitneyu(reference, current, method="asymptotic")
    p = float(found.pvalue) if np.isfinite(found.pvalue) else 1.0
    return Tested(float(current.mean() / reference.mean()), p)
