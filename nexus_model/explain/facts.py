"""What can be said about a sample in plain words: counts, ages, means and shares of its rows.

B samples, K facts, R rows of a table, C columns, N rows of all samples along a path. Facts are read
from tokenized tables, so whatever predicts can also tell; numbers are scaled back and so are known
to about six digits.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from nexus_model.align.children import expand
from nexus_model.align.index import DAY_US, NEVER, PathIndex
from nexus_model.schema import Record
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.columns import EPOCH_2000_US, FIRST_ID, YEAR_US
from nexus_model.tokenize.statistics import NumericalColumn, TableTokenizer, Tokenizer

Array = np.ndarray
WINDOWS = (30, 90, 365)
MOST_VALUES = 12
_SHARES = np.linspace(0.001, 0.999, 999)


class Fact(Record):
    """One thing that can be said of every sample; ``value`` is a category, ``days`` a window."""

    table: str
    kind: Literal[
        "rows", "recent", "newest", "mean", "change", "share", "own", "own_value", "own_moment"
    ]
    column: str = ""
    value: str = ""
    days: int = 0


class Facts(NamedTuple):
    """``value_BK``: counts, days, means, shares, numbers, 1 for an own category; NaN if not known.

    ``rows_BK`` is how many rows a fact is about.
    """

    facts: tuple[Fact, ...]
    value_BK: Array
    rows_BK: Array


def gather_facts(tokenizer: Tokenizer, tensors: TaskTensors, chosen_B: Array) -> Facts:
    """Every fact of every chosen sample: the entity's own row, each table by its nearest path, and
    tables on no path as far as rows on one reference them.
    """
    found: list[tuple[Fact, Array, Array]] = []
    now_B = _now(tensors, chosen_B)
    for table, index, is_own in _nearest(tensors, chosen_B):
        rows = _Rows(tensors, table, index, now_B)
        told = _own(rows, tokenizer[table]) if is_own else _child(rows, tokenizer)
        found += [(fact, value_B, rows.count_B) for fact, value_B in told]
    empty = np.zeros((len(chosen_B), 0))
    return Facts(
        tuple(fact for fact, _, _ in found),
        np.stack([value for _, value, _ in found], axis=1) if found else empty,
        np.stack([count for _, _, count in found], axis=1) if found else empty,
    )


def _nearest(tensors: TaskTensors, chosen_B: Array) -> list[tuple[str, PathIndex, bool]]:
    """Tables with the rows the chosen samples see of them; True for the entity's own row."""
    found: dict[str, tuple[PathIndex, bool]] = {}
    for path, index in zip(tensors.paths, tensors.indexes, strict=True):
        if path.table not in found and path.table not in tensors.absent:
            start_B, stop_B = index.offsets_B[chosen_B], index.offsets_B[chosen_B + 1]
            at_N, _ = expand(start_B, stop_B)
            offsets_B = np.concatenate([[0], np.cumsum(stop_B - start_B)])
            found[path.table] = PathIndex(offsets_B, np.asarray(index.rows_N[at_N])), not path.hops
    for child, (index, _) in list(found.items()):
        of_N = np.repeat(np.arange(len(chosen_B)), np.diff(index.offsets_B))
        for column, parent in enumerate(tensors.parents[child]):
            row_N = tensors.tables[child].parents_RP[index.rows_N, column]
            if parent not in found and parent not in tensors.absent:
                counts_B = np.bincount(of_N[row_N >= 0], minlength=len(chosen_B))
                offsets_B = np.concatenate([[0], np.cumsum(counts_B)])
                found[parent] = PathIndex(offsets_B, row_N[row_N >= 0]), False
    return [(table, index, is_own) for table, (index, is_own) in found.items()]


class _Rows:
    """The rows of one table that samples see, and sums over them."""

    def __init__(self, tensors: TaskTensors, table: str, index: PathIndex, now_B: Array) -> None:
        self.table, self.tensors, self.now_B = table, tensors.tables[table], now_B
        self.count_B = np.diff(index.offsets_B)
        self.of_N = np.repeat(np.arange(len(self.count_B)), self.count_B)
        self.row_N, before_B = index.rows_N, index.offsets_B[:-1]
        self.first_B = np.where(self.count_B > 0, before_B, -1)
        # Rows stand newest last, so the second half is the newer one.
        place_N = np.arange(len(self.of_N)) - before_B[self.of_N]
        self.newer_N = place_N >= self.count_B[self.of_N] / 2

    def total(self, value_N: Array) -> Array:
        """``[B]`` sum over each sample's rows."""
        return np.bincount(self.of_N, weights=value_N, minlength=len(self.count_B))

    def mean(self, value_N: Array) -> Array:
        """``[B]`` mean over the rows that have a value; NaN without any."""
        known_N = np.isfinite(value_N)
        known_B = self.total(known_N.astype(np.float64))
        total_B = self.total(np.where(known_N, value_N, 0.0))
        return np.where(known_B > 0, total_B / np.maximum(known_B, 1), np.nan)

    def only(self, value_N: Array) -> Array:
        """``[B]`` value of the first row; NaN without rows."""
        padded = np.append(value_N.astype(np.float64), np.nan)
        return padded[self.first_B]


def _child(rows: _Rows, tokenizer: Tokenizer) -> Iterator[tuple[Fact, Array]]:
    name, fitted, tensors = rows.table, tokenizer[rows.table], rows.tensors
    yield Fact(table=name, kind="rows"), rows.count_B.astype(np.float64)
    if fitted.timed:
        time_N = tensors.time_R[rows.row_N]
        dated_N = time_N != NEVER
        age_N = np.where(
            dated_N, (rows.now_B[rows.of_N] - np.where(dated_N, time_N, 0)) / DAY_US, np.nan
        )
        for days in WINDOWS:
            recent_N = np.nan_to_num(age_N, nan=np.inf) <= days
            yield Fact(table=name, kind="recent", days=days), rows.total(recent_N.astype(float))
        yield Fact(table=name, kind="newest"), _least(rows, age_N)
    for place, column in enumerate(fitted.numerical):
        value_N = numbers_of(tensors.numerical_RC, tensors.present_RC, place, column)[rows.row_N]
        yield Fact(table=name, kind="mean", column=column.name), rows.mean(value_N)
        if fitted.timed:
            newer_N = np.where(rows.newer_N, value_N, np.nan)
            older_N = np.where(rows.newer_N, np.nan, value_N)
            change_B = rows.mean(newer_N) - rows.mean(older_N)
            yield Fact(table=name, kind="change", column=column.name), change_B
    for place, category in enumerate(fitted.categorical):
        id_N = tensors.categorical_RC[rows.row_N, place]
        for at, value in enumerate(category.vocabulary[:MOST_VALUES]):
            if len(category.vocabulary) <= MOST_VALUES:
                share_B = rows.mean((id_N == at + FIRST_ID).astype(np.float64))
                yield Fact(table=name, kind="share", column=category.name, value=value), share_B


def _own(rows: _Rows, fitted: TableTokenizer) -> Iterator[tuple[Fact, Array]]:
    name, tensors = rows.table, rows.tensors
    for place, column in enumerate(fitted.numerical):
        value_N = numbers_of(tensors.numerical_RC, tensors.present_RC, place, column)[rows.row_N]
        yield Fact(table=name, kind="own", column=column.name), rows.only(value_N)
    for place, category in enumerate(fitted.categorical):
        id_N = tensors.categorical_RC[rows.row_N, place]
        for at, value in enumerate(category.vocabulary[:MOST_VALUES]):
            if len(category.vocabulary) <= MOST_VALUES:
                is_B = rows.only(id_N == at + FIRST_ID)
                yield Fact(table=name, kind="own_value", column=category.name, value=value), is_B
    for place, stamp in enumerate(fitted.temporal):
        scaled_N = tensors.temporal_RCF[rows.row_N, place, 0].astype(np.float64)
        here_N = tensors.present_RC[rows.row_N, len(fitted.numerical) + place]
        origin_N = (
            tensors.time_R[rows.row_N] if fitted.timed else np.full(len(here_N), EPOCH_2000_US)
        )
        known_N = here_N & (origin_N != NEVER)
        days_N = (scaled_N * stamp.std + stamp.mean) * YEAR_US / DAY_US + origin_N / DAY_US
        moment_B = rows.only(np.where(known_N, days_N, np.nan))
        yield Fact(table=name, kind="own_moment", column=stamp.name), moment_B


def _least(rows: _Rows, age_N: Array) -> Array:
    least_B = np.full(len(rows.count_B), np.inf)
    np.minimum.at(least_B, rows.of_N, np.nan_to_num(age_N, nan=np.inf))
    return np.where(np.isfinite(least_B), least_B, np.nan)


def newest_text(tokenizer: Tokenizer, tensors: TaskTensors, table: str, sample: int) -> str:
    """The newest text of a sample along the table's nearest path, as far as it was kept; or "".

    Of a text that a sentence model reads, its vector is kept and no word.
    """
    fitted = tokenizer[table]
    for path, index in zip(tensors.paths, tensors.indexes, strict=True):
        row_N = index.rows_N[index.offsets_B[sample] : index.offsets_B[sample + 1]]
        if path.table == table and len(row_N) and fitted.subword_columns:
            column = fitted.subword_columns[0]
            ids = [int(i) for i in tensors.tables[table].text_RCL[row_N[-1], 0] if i > 0]
            cut = " ..." if len(ids) >= column.length else ""
            return column.subwords.decode(ids).strip() + cut
    return ""


def numbers_of(
    numerical_RC: Array, present_RC: Array, place: int, column: NumericalColumn
) -> Array:
    """A column's numbers scaled back, NaN where missing; outside what was fitted, the edge."""
    scaled_R = np.asarray(numerical_RC[:, place], np.float64)
    if column.knots:
        rank_R = np.interp(scaled_R, _scores(), _SHARES)
        value_R = np.interp(rank_R, np.linspace(0, 1, len(column.knots)), column.knots)
    else:
        value_R = scaled_R * column.std + column.mean
    return np.where(present_RC[:, place], value_R, np.nan)


@cache
def _scores() -> Array:
    """Normal scores of the shares, as numbers scaled by quantiles were given them."""
    return np.array([NormalDist().inv_cdf(share) for share in _SHARES])


def _now(tensors: TaskTensors, chosen_B: Array) -> Array:
    """The moment each sample's data is of; without one, that of the newest row there is."""
    as_of_B = tensors.times.as_of_B[chosen_B]
    newest = [t.time_R[t.time_R != NEVER].max(initial=0) for t in tensors.tables.values()]
    return np.where(as_of_B == NEVER, max(newest, default=0), as_of_B)


def standing(ordered: Sequence[float], value: float) -> tuple[float, float]:
    """Share of known values below and above one.

    >>> standing([1.0, 2.0, 2.0, 5.0], 2.0)
    (0.25, 0.25)
    """
    if not len(ordered):
        return float("nan"), float("nan")
    below = int(np.searchsorted(ordered, value, "left"))
    upto = int(np.searchsorted(ordered, value, "right"))
    return below / len(ordered), 1 - upto / len(ordered)
