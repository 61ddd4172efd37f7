"""One column of cells -> numbers: the four codecs, pure functions of Arrow values and statistics.

R rows, C columns, L sub-words, F features of a timestamp.
"""

from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nexus_model.tokenize.statistics import (
    CategoricalColumn,
    NumericalColumn,
    NumericalScaling,
    TemporalColumn,
    TextColumn,
)
from nexus_model.tokenize.subwords import SubwordReader, encode_column, fit_subwords

Array = np.ndarray
Column: TypeAlias = pa.Array | pa.ChunkedArray

MISSING, UNKNOWN, FIRST_ID = 0, 1, 2
TEMPORAL_FEATURES = 5
YEAR_US = 365.25 * 86_400e6
EPOCH_2000_US = 946_684_800_000_000
CLIP = 10.0
KNOTS = 65
BINS = 64
SUBWORDS = 1280
SHORTEST_TEXT, LONGEST_TEXT = 4, 64


def numbers(column: Column) -> Array:
    """float64 values; missing, NaN, infinite and text that is no number are NaN.

    >>> numbers(pa.array([2**60, None])).tolist()
    [1.152921504606847e+18, nan]
    """
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pa.array([_number(text) for text in column.to_pylist()], pa.float64())
    values = _floats(column)
    values[~np.isfinite(values)] = np.nan
    return values


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _floats(column: Column) -> Array:
    # Whole numbers beyond 2**53 are rounded, not refused.
    cast = pc.cast(column, pa.float64(), safe=False)
    # What Arrow shares cannot be written to, and only that is copied.
    return np.require(cast.to_numpy(zero_copy_only=False), np.float64, "W")


def fit_numerical(name: str, values_R: Array, scaling: NumericalScaling) -> NumericalColumn:
    """Mean and deviation of the present values; a column without spread is only centred.

    >>> fit_numerical("x", np.array([1.0, 3.0, np.nan]), NumericalScaling.STANDARD).mean
    2.0
    """
    present = values_R[~np.isnan(values_R)]
    if len(present) == 0:
        return NumericalColumn(name=name, mean=0.0, std=1.0)
    knots: tuple[float, ...] = ()
    if scaling is NumericalScaling.QUANTILE:
        # A quarter of it, so that no difference of two values overflows.
        found = np.unique(np.quantile(present / 4, np.linspace(0, 1, KNOTS)) * 4)
        knots = tuple(float(knot) for knot in found) if len(found) > 1 else ()
    mean, std = _mean_and_std(present)
    fitted = NumericalColumn(name=name, mean=mean, std=std, knots=knots)
    return fitted.model_copy(update={"edges": bin_edges(encode_numerical(present, fitted)[0])})


def bin_edges(scaled: Array, bins: int = BINS) -> tuple[float, ...]:
    """Edges of half the bins of equally many rows and half of equally many distinct values.

    Where most rows share a value, bins of rows alone would leave two or three for all others.

    >>> bin_edges(np.array([0.0] * 90 + [1.0, 2.0, 3.0], np.float32))[0]
    0.0
    """
    shares, ordered = np.linspace(0, 1, bins // 2 + 1), np.sort(scaled)
    distinct = ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]
    found = [np.quantile(ordered, shares), np.quantile(distinct, shares)]
    return tuple(float(edge) for edge in np.unique(np.concatenate(found).astype(np.float32)))


def _mean_and_std(present: Array) -> tuple[float, float]:
    """Finite even where squares overflow; a constant is its own mean, with deviation 1."""
    if present.min() == present.max():
        return float(present[0]), 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(present.mean()), float(present.std())
    if not np.isfinite(std):
        largest = float(np.abs(present).max())
        shares = present / largest
        mean, std = float(shares.mean()) * largest, float(shares.std()) * largest
    return mean, std if std > 1e-12 else 1.0


def encode_numerical(values_R: Array, fitted: NumericalColumn) -> tuple[Array, Array]:
    """Scaled float32 values, clipped to +-10, 0 where missing; and which are present."""
    present_R = ~np.isnan(values_R)
    if fitted.knots:
        rank_R = np.interp(values_R, fitted.knots, np.linspace(0, 1, len(fitted.knots)))
        grid = np.linspace(0.001, 0.999, 999)
        scores = np.array([NormalDist().inv_cdf(share) for share in grid])
        scaled_R = np.interp(rank_R, grid, scores)
    else:
        with np.errstate(over="ignore"):
            scaled_R = (values_R - fitted.mean) / fitted.std
    scaled_R = np.where(present_R, np.clip(scaled_R, -CLIP, CLIP), 0.0)
    return scaled_R.astype(np.float32), present_R


def strings(column: Column) -> Column:
    """Values as strings."""
    return pc.cast(column, pa.string())


def fit_categorical(name: str, column: Column) -> CategoricalColumn:
    """Vocabulary in alphabetical order, so that it does not depend on the order of rows."""
    values = {value for value in pc.unique(strings(column)).to_pylist() if value is not None}
    return CategoricalColumn(name=name, vocabulary=tuple(sorted(values)))


def encode_categorical(column: Column, fitted: CategoricalColumn) -> Array:
    """int32 ids: 0 missing, 1 not in the vocabulary."""
    texts = strings(column)
    found = pc.index_in(texts, value_set=pa.array(fitted.vocabulary, pa.string()))
    ids_R = np.asarray(pc.fill_null(found, -1), dtype=np.int32) + FIRST_ID
    ids_R[ids_R < FIRST_ID] = UNKNOWN
    ids_R[np.asarray(pc.is_null(texts))] = MISSING
    return ids_R


def microseconds(column: Column) -> Array:
    """Timestamps as float64 microseconds since 1970; missing is NaN."""
    return _floats(pc.cast(pc.cast(column, pa.timestamp("us"), safe=False), pa.int64()))


def years_from(stamps_R: Array, origin_R: Array | float) -> Array:
    """Years between two moments in microseconds, positive if the first is later."""
    return (stamps_R - origin_R) / YEAR_US


def fit_temporal(name: str, years_R: Array) -> TemporalColumn:
    """Mean and deviation of the distances."""
    fitted = fit_numerical(name, years_R, NumericalScaling.STANDARD)
    return TemporalColumn(name=name, mean=fitted.mean, std=fitted.std)


def season(stamps_R: Array) -> Array:
    """Sine and cosine of the day of the year, float32 [R, 2]; zeros where missing."""
    phase_R = 2 * np.pi * (stamps_R / YEAR_US)
    waves_R2 = np.stack([np.sin(phase_R), np.cos(phase_R)], axis=1)
    return np.nan_to_num(waves_R2).astype(np.float32)


def encode_temporal(stamps_R: Array, years_R: Array, fitted: TemporalColumn) -> tuple[Array, Array]:
    """Scaled distance, season and weekday as sine and cosine: float32 [R, 5]; and present [R]."""
    scaled_R, present_R = encode_numerical(
        years_R, NumericalColumn(name=fitted.name, mean=fitted.mean, std=fitted.std)
    )
    week_R = 2 * np.pi * (stamps_R / (7 * 86_400e6))
    week_R2 = np.nan_to_num(np.stack([np.sin(week_R), np.cos(week_R)], axis=1))
    cells_RF = np.concatenate([scaled_R[:, None], season(stamps_R), week_R2], axis=1)
    return cells_RF.astype(np.float32), present_R


def fit_text(name: str, column: Column) -> TextColumn:
    """Sub-words of the fitted rows, and a length that all but one in a hundred texts fit in."""
    texts = [text for text in strings(column).to_pylist() if text is not None]
    subwords = fit_subwords(texts, SUBWORDS, lowercase=True)
    reader = SubwordReader(subwords)
    counts = [len(reader.ids(text, LONGEST_TEXT)) for text in texts] or [0]
    length = int(np.ceil(np.quantile(counts, 0.99)))
    return TextColumn(name=name, length=max(length, SHORTEST_TEXT), subwords=subwords)


def encode_text(column: Column, fitted: TextColumn, length: int) -> Array:
    """int32 [R, length] sub-words, cut at the column's own length; 0 pads, missing is all 0."""
    ids_RL = encode_column(column, fitted.subwords, fitted.length)
    return np.pad(ids_RL, ((0, 0), (0, length - fitted.length)))
