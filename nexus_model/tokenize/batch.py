"""RelBatch: the one form in which data reaches the model, and its only maker.

B samples, R unique rows of a table, C columns, F features of a timestamp, L sub-words, Z numbers
of a sentence's vector, P parents, N visible rows of all samples of a path one after another.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nexus_model.align.index import DAY_US, NEVER, PathIndex, SampleTimes
from nexus_model.align.paths import RelationPath
from nexus_model.tokenize.also import AlsoLabel
from nexus_model.tokenize.cohorts import cohorts
from nexus_model.tokenize.table_tensors import TableTensors

Array = np.ndarray


class TableRows(NamedTuple):
    """The unique rows of one table that a batch touches; fields as in ``TableTensors``.

    ``parents_RP`` holds positions into the parent's unique rows, -1 for none; ``ids_R`` the rows'
    numbers in the aligned table.
    """

    numerical_RC: Tensor
    present_RC: Tensor
    categorical_RC: Tensor
    temporal_RCF: Tensor
    text_RCL: Tensor
    vectors_RCZ: Tensor
    parents_RP: Tensor
    ids_R: Tensor


class PathRows(NamedTuple):
    """Rows each sample sees along one path, newest last.

    Sample ``b`` sees ``rows_N[offsets_B[b]:offsets_B[b + 1]]``, positions into the table's unique
    rows; ``age_N`` is days from the row's time to the moment the sample's data is of, 0 in tables
    without time.
    """

    offsets_B: Tensor
    rows_N: Tensor
    age_N: Tensor


class RelBatch(NamedTuple):
    """Tables by name, paths in the task's order, the samples' clocks, and labels if known.

    ``present_P`` is False for the paths of a table that was not given at all. Samples with equal
    numbers in ``cohort_B`` are asked together. ``also`` are labels [B] of further tasks, NaN where
    they are not known.
    """

    tables: dict[str, TableRows]
    paths: tuple[PathRows, ...]
    clock_BF: Tensor
    label_B: Tensor
    present_P: Tensor
    cohort_B: Tensor
    also: tuple[Tensor, ...] = ()

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.label_B)


class TaskTensors(NamedTuple):
    """A tokenized task: tables, paths with their indexes, and per sample times, clock, label.

    ``absent`` names tables that were not given; the model then reads nothing in their place.
    ``also`` are further labels of the same samples.
    """

    tables: Mapping[str, TableTensors]
    parents: Mapping[str, tuple[str, ...]]
    paths: Sequence[RelationPath]
    indexes: Sequence[PathIndex]
    times: SampleTimes
    clock_BF: Array
    label_B: Array
    absent: frozenset[str] = frozenset()
    also: tuple[AlsoLabel, ...] = ()


def build_batch(task: TaskTensors, chosen_B: Array, parent_hops: int) -> RelBatch:
    """Gather the batch of the chosen samples, in their order.

    ``parent_hops`` is how many foreign keys up a row is followed; rows further away stay behind.
    """
    sliced = [_slice(index, chosen_B) for index in task.indexes]
    needed = _close_over_parents(task, sliced, parent_hops)
    tables = {name: _table_rows(task, name, ids, needed) for name, ids in needed.items()}
    as_of_B = task.times.as_of_B[chosen_B]
    paths = tuple(
        _path_rows(task, path, index, needed[path.table], as_of_B)
        for path, index in zip(task.paths, sliced, strict=True)
    )
    return RelBatch(
        tables,
        paths,
        torch.from_numpy(task.clock_BF[chosen_B]),
        torch.from_numpy(task.label_B[chosen_B].astype(np.float32)),
        torch.tensor([path.table not in task.absent for path in task.paths], dtype=torch.bool),
        torch.from_numpy(cohorts(task.times, chosen_B)),
        tuple(torch.from_numpy(own.label_B[chosen_B].astype(np.float32)) for own in task.also),
    )


def _slice(index: PathIndex, chosen_B: Array) -> PathIndex:
    start_B = index.offsets_B[chosen_B]
    length_B = index.offsets_B[chosen_B + 1] - start_B
    offsets_B = np.concatenate([[0], np.cumsum(length_B)])
    at_N = np.arange(offsets_B[-1]) + np.repeat(start_B - offsets_B[:-1], length_B)
    return PathIndex(offsets_B, np.asarray(index.rows_N[at_N]))


def _close_over_parents(
    task: TaskTensors, sliced: Sequence[PathIndex], parent_hops: int
) -> dict[str, Array]:
    """Sorted unique rows per table: those the paths name, and their parents ``parent_hops`` up."""
    found: dict[str, list[Array]] = {name: [np.zeros(0, np.int64)] for name in task.tables}
    for path, index in zip(task.paths, sliced, strict=True):
        found[path.table].append(index.rows_N)
    needed = {name: np.unique(np.concatenate(rows)) for name, rows in found.items()}
    for _ in range(parent_hops):
        further = {name: [ids] for name, ids in needed.items()}
        for name, ids in needed.items():
            for column, parent in enumerate(task.parents[name]):
                rows = task.tables[name].parents_RP[ids, column]
                further[parent].append(rows[rows >= 0])
        needed = {name: np.unique(np.concatenate(rows)) for name, rows in further.items()}
    return needed


def _table_rows(
    task: TaskTensors, name: str, ids_R: Array, needed: Mapping[str, Array]
) -> TableRows:
    source = task.tables[name]
    parents = [
        positions(needed[parent], source.parents_RP[ids_R, column])
        for column, parent in enumerate(task.parents[name])
    ]
    parents_RP = np.stack(parents, axis=1) if parents else np.zeros((len(ids_R), 0), np.int64)
    return TableRows(
        numerical_RC=torch.from_numpy(source.numerical_RC[ids_R]),
        present_RC=torch.from_numpy(source.present_RC[ids_R]),
        categorical_RC=torch.from_numpy(source.categorical_RC[ids_R].astype(np.int64)),
        temporal_RCF=torch.from_numpy(source.temporal_RCF[ids_R]),
        text_RCL=torch.from_numpy(source.text_RCL[ids_R].astype(np.int64)),
        vectors_RCZ=torch.from_numpy(source.vectors_RCZ[ids_R]),
        parents_RP=torch.from_numpy(parents_RP),
        ids_R=torch.from_numpy(ids_R),
    )


def positions(ids: Array, rows: Array) -> Array:
    """Where each row stands among the sorted ``ids``; -1 for none or not among them."""
    if len(ids) == 0:
        return np.full(len(rows), -1)
    at = np.minimum(np.searchsorted(ids, rows), len(ids) - 1)
    return np.where(ids[at] == rows, at, -1)


def _path_rows(
    task: TaskTensors, path: RelationPath, index: PathIndex, ids: Array, as_of_B: Array
) -> PathRows:
    time_N = task.tables[path.table].time_R[index.rows_N]
    length_B = np.diff(index.offsets_B)
    now_N = np.repeat(as_of_B, length_B)
    if len(time_N):
        # A sample without a cutoff measures ages from the newest row it sees.
        newest_B = time_N[np.maximum(index.offsets_B[1:] - 1, 0)]
        now_N = np.where(now_N == NEVER, np.repeat(newest_B, length_B), now_N)
    age_N = np.where(time_N == NEVER, 0.0, (now_N - np.minimum(time_N, now_N)) / DAY_US)
    return PathRows(
        torch.from_numpy(index.offsets_B),
        torch.from_numpy(np.searchsorted(ids, index.rows_N)),
        torch.from_numpy(age_N.astype(np.float32)),
    )
