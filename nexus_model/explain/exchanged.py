"""Samples whose tables come from other samples: what permuting a table means between relations.

B samples asked about, N rows of one table of all samples one after another, P parents of a row,
R unique rows of a batch, C columns, Z numbers of a sentence's vector.

Shuffling one column is easy; a table has several rows per sample, other tables point at it and it
points at others. Here every sample owns a copy of its rows. A sample that takes a table from a
donor gets all the donor's rows of it, along every path and wherever they are read as parents. Keys
between a table that stays and one that was taken are tied again by place: the third row referenced
is the third row there is, counted around.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from nexus_model.align.children import expand
from nexus_model.align.index import SampleTimes
from nexus_model.tokenize.batch import PathRows, RelBatch, TableRows, TaskTensors, build_batch

Array = np.ndarray


class OwnTable(NamedTuple):
    """Rows of one table, sample by sample.

    Sample ``b`` owns ``row_N[offsets_B[b]:offsets_B[b + 1]]``, positions into ``rows``;
    ``parents_NP`` are places among the sample's rows of the referenced table, -1 for none.
    """

    rows: TableRows
    offsets_B: Array
    row_N: Array
    parents_NP: Array


class OwnPath(NamedTuple):
    """Rows seen along a path, sample by sample: places among its rows of the table, and ages."""

    offsets_B: Array
    place_N: Array
    age_N: Array


class OwnRows(NamedTuple):
    """Samples that share no row, from which batches with exchanged tables are made."""

    entity_table: str
    path_tables: tuple[str, ...]
    references: Mapping[str, tuple[str, ...]]
    tables: dict[str, OwnTable]
    paths: tuple[OwnPath, ...]
    batch: RelBatch

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.batch.samples

    @property
    def read_tables(self) -> tuple[str, ...]:
        """Tables of which any sample has a row, the entity's own first."""
        has = [name for name, table in self.tables.items() if len(table.row_N)]
        rest = [name for name in has if name != self.entity_table]
        return (self.entity_table, *rest)


def own_rows(tensors: TaskTensors, chosen_B: Array, parent_hops: int) -> OwnRows:
    """The chosen samples, each with rows of its own; parents are followed ``parent_hops`` up."""
    batch = build_batch(tensors, chosen_B, parent_hops)
    path_tables = tuple(path.table for path in tensors.paths)
    references = {name: tuple(parents) for name, parents in tensors.parents.items()}
    keys = _closed(batch, path_tables, references, parent_hops)
    tables = {name: _own_table(batch, name, keys, references[name]) for name in batch.tables}
    paths = []
    for table, path in zip(path_tables, batch.paths, strict=True):
        sample_N = _sample_of(path)
        key_N = sample_N * _count(batch, table) + path.rows_N.numpy()
        place_N = np.searchsorted(keys[table], key_N) - tables[table].offsets_B[sample_N]
        paths.append(OwnPath(path.offsets_B.numpy(), place_N, path.age_N.numpy()))
    return OwnRows(path_tables[0], path_tables, references, tables, tuple(paths), batch)


def exchanged(own: OwnRows, asked_B: Array, donors: Mapping[str, Array] | None = None) -> RelBatch:
    """The batch of ``asked_B`` in which each table of ``donors`` is that of the sample it names.

    The clock, which holds the entity's ages, goes with the entity's table.
    """
    sources = dict.fromkeys(own.tables, asked_B) | dict(donors or {})
    offsets, rows = {}, {}
    for name, table in own.tables.items():
        at_N, _ = _taken(table.offsets_B, sources[name])
        offsets[name] = _offsets(table.offsets_B, sources[name])
        rows[name] = at_N
    tables = {name: _exchanged_table(own, name, offsets, rows[name]) for name in rows}
    paths = []
    for name, path in zip(own.path_tables, own.paths, strict=True):
        at_N, which_N = _taken(path.offsets_B, sources[name])
        paths.append(
            PathRows(
                torch.from_numpy(_offsets(path.offsets_B, sources[name])),
                torch.from_numpy(offsets[name][which_N] + path.place_N[at_N]),
                torch.from_numpy(path.age_N[at_N]),
            )
        )
    asked, entity = torch.from_numpy(asked_B), torch.from_numpy(sources[own.entity_table])
    return RelBatch(
        tables,
        tuple(paths),
        own.batch.clock_BF[entity],
        own.batch.label_B[asked],
        own.batch.present_P,
        own.batch.cohort_B[asked],
    )


def draw_donors(times: SampleTimes, chosen_B: Array, draws: int, seed: int = 0) -> Array:
    """``[draws, B]``: another sample of the same cutoff for each, by place in ``chosen_B``.

    Over several draws nobody gets the same donor twice while there are others. A sample that is
    alone at its cutoff takes a donor from all.
    """
    generator, count = np.random.default_rng(seed), len(chosen_B)
    found = np.zeros((draws, count), np.int64)
    cutoff_B = times.cutoff_B[chosen_B]
    alone = []
    for cutoff in np.unique(cutoff_B):
        group = np.flatnonzero(cutoff_B == cutoff)
        if len(group) == 1:
            alone.append(group[0])
            continue
        order = generator.permutation(group)
        steps = generator.permutation(len(group) - 1) + 1
        for draw in range(draws):
            found[draw, order] = np.roll(order, -steps[draw % len(steps)])
    for place in alone:
        others = np.delete(np.arange(count), place)
        found[:, place] = generator.choice(others, draws) if len(others) else place
    return found


def _closed(
    batch: RelBatch,
    path_tables: tuple[str, ...],
    references: Mapping[str, tuple[str, ...]],
    hops: int,
) -> dict[str, Array]:
    """Sorted ``sample * rows + row`` of everything each sample reads, by table."""
    found: dict[str, list[Array]] = {name: [np.zeros(0, np.int64)] for name in batch.tables}
    for name, path in zip(path_tables, batch.paths, strict=True):
        found[name].append(_sample_of(path) * _count(batch, name) + path.rows_N.numpy())
    keys = {name: np.unique(np.concatenate(parts)) for name, parts in found.items()}
    for _ in range(hops):
        further = {name: [known] for name, known in keys.items()}
        for name, key_N in keys.items():
            sample_N, row_N = np.divmod(key_N, max(1, _count(batch, name)))
            for column, parent in enumerate(references[name]):
                parent_N = batch.tables[name].parents_RP[:, column].numpy()[row_N]
                known_N = parent_N >= 0
                width = _count(batch, parent)
                further[parent].append(sample_N[known_N] * width + parent_N[known_N])
        keys = {name: np.unique(np.concatenate(parts)) for name, parts in further.items()}
    return keys


def _own_table(
    batch: RelBatch, name: str, keys: Mapping[str, Array], parents: tuple[str, ...]
) -> OwnTable:
    rows = batch.tables[name]
    sample_N, row_N = np.divmod(keys[name], max(1, _count(batch, name)))
    parents_NP = np.full((len(row_N), len(parents)), -1, np.int64)
    for column, parent in enumerate(parents):
        parent_N = rows.parents_RP[:, column].numpy()[row_N]
        key_N = sample_N * _count(batch, parent) + parent_N
        at_N = np.minimum(np.searchsorted(keys[parent], key_N), len(keys[parent]) - 1)
        # A parent further away than the model follows keys was not closed over.
        known_N = (parent_N >= 0) & (len(keys[parent]) > 0)
        known_N &= keys[parent][at_N] == key_N if len(keys[parent]) else False
        first_N = np.searchsorted(keys[parent], sample_N * _count(batch, parent))
        parents_NP[:, column] = np.where(known_N, at_N - first_N, -1)
    offsets_B = np.searchsorted(sample_N, np.arange(batch.samples + 1))
    return OwnTable(rows, offsets_B, row_N, parents_NP)


def _exchanged_table(
    own: OwnRows,
    name: str,
    offsets: Mapping[str, Array],
    at_N: Array,
) -> TableRows:
    table = own.tables[name]
    which_N = np.repeat(np.arange(len(offsets[name]) - 1), np.diff(offsets[name]))
    parents_NP = table.parents_NP[at_N]
    for column, parent in enumerate(own.references[name]):
        place_N, count_N = parents_NP[:, column], np.diff(offsets[parent])[which_N]
        there_N = offsets[parent][which_N] + place_N % np.maximum(count_N, 1)
        parents_NP[:, column] = np.where((place_N >= 0) & (count_N > 0), there_N, -1)
    row = torch.from_numpy(table.row_N[at_N])
    taken = TableRows(*(field[row] for field in table.rows))
    return taken._replace(parents_RP=torch.from_numpy(parents_NP))


def _taken(offsets_B: Array, source_B: Array) -> tuple[Array, Array]:
    return expand(offsets_B[source_B], offsets_B[source_B + 1])


def _offsets(offsets_B: Array, source_B: Array) -> Array:
    lengths = offsets_B[source_B + 1] - offsets_B[source_B]
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _sample_of(path: PathRows) -> Array:
    return np.repeat(np.arange(len(path.offsets_B) - 1), np.diff(path.offsets_B.numpy()))


def _count(batch: RelBatch, table: str) -> int:
    return len(batch.tables[table].ids_R)


def with_column_of(own: OwnRows, asked_B: Array, donor_B: Array, table: str, cell: int) -> RelBatch:
    """The batch of ``asked_B`` with one column's cells from the donors' rows, place by place.

    ``cell`` counts a row's cells: numbers, times, categories, texts. A row whose donor has no row
    keeps its own cell.
    """
    batch, offsets_B = exchanged(own, asked_B), own.tables[table].offsets_B
    at_N, which_N = _taken(offsets_B, asked_B)
    count_N = np.diff(offsets_B)[donor_B][which_N]
    place_N = at_N - offsets_B[asked_B][which_N]
    donor_N = offsets_B[donor_B][which_N] + place_N % np.maximum(count_N, 1)
    row_N = own.tables[table].row_N
    other_N = torch.from_numpy(
        np.where(count_N > 0, row_N[np.minimum(donor_N, len(row_N) - 1)], row_N[at_N])
    )
    rows = batch.tables[table]
    taken = _with_cell(rows, own.tables[table].rows, other_N, cell)
    return batch._replace(tables=batch.tables | {table: taken})


def _with_cell(rows: TableRows, every: TableRows, other_N: torch.Tensor, cell: int) -> TableRows:
    """``rows`` with one cell each from the rows ``other_N`` of ``every``."""
    fields = rows._asdict()
    for name, count in (
        ("numerical_RC", rows.numerical_RC.shape[1]),
        ("temporal_RCF", rows.temporal_RCF.shape[1]),
        ("categorical_RC", rows.categorical_RC.shape[1]),
        ("text_RCL", rows.text_RCL.shape[1]),
        ("vectors_RCZ", rows.vectors_RCZ.shape[1]),
    ):
        if cell < count:
            changed = [name]
            places = {name: cell}
            if name in {"numerical_RC", "temporal_RCF"}:
                numbers = rows.numerical_RC.shape[1] if name == "temporal_RCF" else 0
                changed.append("present_RC")
                places["present_RC"] = numbers + cell
            for field in changed:
                copied = fields[field].clone()
                copied[:, places[field]] = getattr(every, field)[other_N, places[field]]
                fields[field] = copied
            return TableRows(**fields)
        cell -= count
    raise ValueError(f"the row has no cell {cell}")
