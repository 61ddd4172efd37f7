"""Segments: samples by how much of their own past the model may see.

B samples.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nexus_model.align.paths import RelationPath
from nexus_model.align.recipe import Recipe

ZERO, SPARSE, RICH = "zero", "sparse", "rich"
SEGMENTS = {ZERO: "no row", SPARSE: "1 to 10 rows", RICH: "more than 10 rows"}
MOST_OF_SPARSE = 10


class History(NamedTuple):
    """The paths that were counted, and how many rows each sample sees along them."""

    paths: tuple[str, ...]
    rows_B: NDArray[np.int64]


def history_of(recipe: Recipe, offsets: Mapping[str, NDArray[np.int64]]) -> History:
    """Rows of the entity's own dated children, label history left out.

    ``offsets`` are the index's, by path name ``[B + 1]``. An entity without such children, such as
    a flight that is asked about once, has the past of its parents: then the path up and down again
    that has the fewest rows counts alone, since the others always have as many as they may.

    Raises:
        ValueError: no path ends in a dated child.
    """
    rows = {path.name: np.diff(offsets[path.name]) for path in recipe.paths}
    dated = [path for path in recipe.paths if _is_past(recipe, path)]
    own = [path.name for path in dated if len(path.hops) == 1]
    if not own:
        if not dated:
            raise ValueError(f"task {recipe.task.name}: no path ends in a dated child table")
        own = [min((path.name for path in dated), key=lambda name: float(rows[name].mean()))]
    return History(tuple(own), np.sum([rows[name] for name in own], axis=0))


def _is_past(recipe: Recipe, path: RelationPath) -> bool:
    down = bool(path.hops) and path.hops[-1].direction == "down"
    dated = recipe.database[path.table].time_column is not None
    return down and dated and path.table != recipe.history


def segment_of(rows_B: NDArray[np.int64]) -> NDArray[np.str_]:
    """The segment's name of every sample.

    >>> segment_of(np.array([0, 1, 10, 11])).tolist()
    ['zero', 'sparse', 'sparse', 'rich']
    """
    known_B = np.where(rows_B > MOST_OF_SPARSE, RICH, SPARSE)
    return np.where(rows_B == 0, ZERO, known_B)
