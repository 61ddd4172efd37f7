"""Point-in-time indexes from arrays: what ``align/index.py`` finds in a database, without one.

B samples, R rows of a table, P parents of a row, N rows of all samples one after another. A table
sorted by (parent, time, row) makes what one sample may see a contiguous slice, found by binary
search.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from nexus_model.align.children import expand
from nexus_model.align.index import NEVER, PathIndex, Requests, SampleTimes, newest_rows
from nexus_model.align.paths import Hop
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.schema import DatabaseSpec

Array: TypeAlias = np.ndarray


class Children(NamedTuple):
    """Rows that reference a parent, in order of (parent, time, row).

    ``place_N`` is one number per (parent, moment), ascending: ``scale`` times the parent and the
    rank of the row's moment among ``moments``.
    """

    row_N: Array
    place_N: Array
    moments: Array
    scale: int


class Linked:
    """What an index is made from: times ``[R]`` and links ``[R, P]`` by table.

    Orders of children are found when first needed and kept.
    """

    def __init__(
        self, database: DatabaseSpec, times: Mapping[str, Array], links: Mapping[str, Array]
    ) -> None:
        self.database, self.times, self.links = database, times, links
        self._children: dict[tuple[str, int, bool], Children] = {}

    def children(self, hop: Hop, *, timed: bool) -> Children:
        """The rows a hop down may reach; where ``timed``, those without a time are none of them."""
        key = (hop.table, hop.key, timed)
        if key not in self._children:
            time_R, parent_R = self.times[hop.table], self.links[hop.table][:, hop.key]
            self._children[key] = _ordered_children(time_R, parent_R, timed=timed)
        return self._children[key]


def _ordered_children(time_R: Array, parent_R: Array, *, timed: bool) -> Children:
    rows = np.flatnonzero((parent_R >= 0) & ((time_R != NEVER) | (not timed)))
    moment = np.where(time_R[rows] == NEVER, -NEVER, time_R[rows])
    order = np.lexsort((rows, moment, parent_R[rows]))
    rows, moment, parent = rows[order], moment[order], parent_R[rows[order]]
    moments, rank = np.unique(moment, return_inverse=True)
    scale = len(moments) + 1
    return Children(rows, parent * scale + rank, moments, scale)


def visible_rows(recipe: Recipe, linked: Linked, times: SampleTimes) -> tuple[PathIndex, ...]:
    """The index of every path of the recipe."""
    return tuple(_index_path(linked, plan, times) for plan in recipe.plans)


def _index_path(linked: Linked, plan: PathPlan, times: SampleTimes) -> PathIndex:
    count = len(times.entity_B)
    requests = Requests(np.arange(count), times.entity_B)
    if not plan.path.hops:
        requests = _known(linked, plan.path.table, requests, times.as_of_B)
    for hop in plan.path.hops:
        if hop.direction == "down":
            requests = _down(linked, hop, requests, times.as_of_B, plan.max_rows)
        else:
            requests = _up(linked, hop, requests, times.as_of_B)
    timed = linked.database[plan.path.table].time_column is not None
    time_R = linked.times[plan.path.table] if timed else None
    return newest_rows(plan.path, requests, time_R, count, plan.max_rows)


def _down(linked: Linked, hop: Hop, requests: Requests, as_of_B: Array, max_rows: int) -> Requests:
    """From rows to the newest visible rows that reference them; a row without a time is oldest."""
    # Samples without a cutoff see every row, those without a time included.
    timed = linked.database[hop.table].time_column is not None and not (as_of_B == NEVER).all()
    children = linked.children(hop, timed=timed)
    first_N = requests.row_N * children.scale
    start_N = np.searchsorted(children.place_N, first_N, side="left")
    # Rows of one moment are never split.
    last_N: Array | int = children.scale - 1
    if timed:
        as_of_N = as_of_B[requests.sample_N]
        last_N = np.searchsorted(children.moments, as_of_N, side="right")
    stop_N = np.searchsorted(children.place_N, first_N + last_N, side="left")
    at_N, which_N = expand(np.maximum(start_N, stop_N - max_rows), stop_N)
    return Requests(requests.sample_N[which_N], children.row_N[at_N])


def _up(linked: Linked, hop: Hop, requests: Requests, as_of_B: Array) -> Requests:
    """From rows to the distinct rows they reference, if those are known."""
    row_N = linked.links[hop.table][:, hop.key][requests.row_N]
    linked_N = row_N >= 0
    found = Requests(requests.sample_N[linked_N], row_N[linked_N])
    pairs = np.unique(np.stack(_known(linked, hop.reaches, found, as_of_B)), axis=1)
    return Requests(pairs[0], pairs[1])


def _known(linked: Linked, table: str, requests: Requests, as_of_B: Array) -> Requests:
    """The requests whose row is not later than what its sample knows."""
    if linked.database[table].time_column is None:
        return requests
    keep_N = linked.times[table][requests.row_N] <= as_of_B[requests.sample_N]
    return Requests(requests.sample_N[keep_N], requests.row_N[keep_N])
