"""Whether quantiles hold as many labels as they say, and by how much each would have to move.

A level's share of labels at or below it is the level if the quantile is right. Of labels that
repeat (many zeros) a right quantile has more than that at or below it, never less.

B samples, Y levels, rising.
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from nexus_model.evaluate.weighted import Array
from nexus_model.schema import Record


class LevelShifts(Record):
    """What is added to each quantile; zeros change nothing."""

    shifts: tuple[float, ...]

    @classmethod
    def fit(cls, prediction_BY: ArrayLike, label_B: ArrayLike, levels: tuple[float, ...]) -> Self:
        """A level's quantile of label less prediction, from at least one row.

        Conformalized quantile regression (Romano, Patterson and Candes 2019), each tail apart as in
        its theorem 2: of n rows it takes the residual of rank (n + 1) q, away from the median where
        that is no whole number. Then at least the share promised lies inside, whatever the model,
        if the rows asked about come like these; over time they may not.

        DIFFERS: too few rows for a rank beyond the outermost residual give that one, not infinity.
        """
        residual_BY = np.asarray(label_B, dtype=np.float64)[:, None] - np.asarray(prediction_BY)
        ordered_BY = np.sort(residual_BY, axis=0)
        rows = len(ordered_BY)
        ranks = [
            (np.ceil if level >= 0.5 else np.floor)(round((rows + 1) * level, 9))
            for level in levels
        ]
        places = np.clip(np.array(ranks, dtype=np.intp), 1, rows) - 1
        return cls(shifts=tuple(ordered_BY[places, np.arange(len(levels))].tolist()))

    def apply(self, prediction_BY: ArrayLike) -> Array:
        """The shifted quantiles, sorted where a shift made them cross."""
        return np.sort(np.asarray(prediction_BY, dtype=np.float64) + np.array(self.shifts), axis=1)


def shares_below(prediction_BY: ArrayLike, label_B: ArrayLike) -> tuple[float, ...]:
    """Of each quantile the share of labels at or below it, from at least one row.

    >>> shares_below([[1.0, 3.0], [1.0, 3.0]], [2.0, 1.0])
    (0.5, 1.0)
    """
    below_BY = np.asarray(label_B)[:, None] <= np.asarray(prediction_BY)
    return tuple(below_BY.mean(axis=0).tolist())
