"""RelBatch: rows gathered once, samples in the order asked, alone or together alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_database, tiny_frames, tiny_recipe

from nexus_model.align.index import NEVER
from nexus_model.tokenize.batch import DAY_US, build_batch
from nexus_model.tokenize.prepare import open_task, write_index, write_task

TINY = tiny_database()
STATIC = tiny_database(static=True)
chosen_samples = st.lists(st.integers(0, len(TINY.label_B) - 1), min_size=1, max_size=13)


def rows_of(tiny, batch, place):
    """Per path the aligned rows and ages that the sample at this place of the batch sees."""
    found = []
    for path, rows in zip(tiny.recipe.paths, batch.paths, strict=True):
        part = slice(rows.offsets_B[place], rows.offsets_B[place + 1])
        ids_R = batch.tables[path.table].ids_R
        found.append((ids_R[rows.rows_N[part]].tolist(), rows.age_N[part].tolist()))
    return found


def same(one, other):
    """Whether two nested tuples or dicts of tensors are equal bit by bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return all(same(*pair) for pair in zip(one, other, strict=True))


@settings(max_examples=50)
@given(chosen=chosen_samples)
def test_a_sample_has_the_same_rows_and_ages_alone_or_in_any_batch(chosen):
    batch = build_batch(TINY.tensors, np.array(chosen), 2)
    for place, sample in enumerate(chosen):
        alone = build_batch(TINY.tensors, np.array([sample]), 2)
        assert rows_of(TINY, batch, place) == rows_of(TINY, alone, 0)


@given(chosen=chosen_samples)
def test_a_batch_holds_the_index_of_its_samples_in_their_order(chosen):
    batch = build_batch(TINY.tensors, np.array(chosen), 2)
    assert batch.label_B.tolist() == TINY.label_B[chosen].tolist()
    assert torch.equal(batch.clock_BF, torch.from_numpy(TINY.tensors.clock_BF[chosen]))
    for place, sample in enumerate(chosen):
        for (ids, _), index in zip(rows_of(TINY, batch, place), TINY.indexes, strict=True):
            seen = index.rows_N[index.offsets_B[sample] : index.offsets_B[sample + 1]]
            assert ids == seen.tolist()


@given(chosen=chosen_samples, hops=st.integers(0, 3))
def test_every_row_is_held_once_and_with_its_own_cells(chosen, hops):
    batch = build_batch(TINY.tensors, np.array(chosen), hops)
    for name, rows in batch.tables.items():
        ids = rows.ids_R.numpy()
        assert len(np.unique(ids)) == len(ids)
        source = TINY.tensors.tables[name]
        assert np.array_equal(rows.numerical_RC, source.numerical_RC[ids])
        assert np.array_equal(rows.categorical_RC, source.categorical_RC[ids])


@given(chosen=chosen_samples, hops=st.integers(0, 3))
def test_a_parent_is_held_if_it_is_within_reach(chosen, hops):
    tables = TINY.tensors.tables
    batch = build_batch(TINY.tensors, np.array(chosen), hops)
    within = build_batch(TINY.tensors, np.array(chosen), 0).tables
    reached = {name: set(rows.ids_R.tolist()) for name, rows in within.items()}
    for _ in range(hops):
        for name, ids in {name: set(ids) for name, ids in reached.items()}.items():
            for column, parent in enumerate(TINY.recipe.parents[name]):
                rows = tables[name].parents_RP[sorted(ids), column]
                reached[parent] |= set(rows[rows >= 0].tolist())
    assert {name: set(rows.ids_R.tolist()) for name, rows in batch.tables.items()} == reached


def test_a_held_parent_is_found_at_its_position_and_no_other_is():
    batch = build_batch(TINY.tensors, TINY.every_B[:29], 1)
    for name, rows in batch.tables.items():
        for column, parent in enumerate(TINY.recipe.parents[name]):
            at, held = rows.parents_RP[:, column], batch.tables[parent].ids_R
            wanted = TINY.tensors.tables[name].parents_RP[rows.ids_R, column]
            is_held = np.isin(wanted, held)
            assert np.array_equal(at >= 0, is_held)
            assert held[at[is_held]].tolist() == wanted[is_held].tolist()


def test_an_age_is_the_days_between_a_row_and_its_samples_cutoff():
    batch = build_batch(TINY.tensors, TINY.every_B, 0)
    for path, rows in zip(TINY.recipe.paths, batch.paths, strict=True):
        time_N = TINY.tensors.tables[path.table].time_R[batch.tables[path.table].ids_R][rows.rows_N]
        cutoff_N = np.repeat(TINY.times.cutoff_B, np.diff(rows.offsets_B))
        expected = np.where(time_N == NEVER, 0, (cutoff_N - time_N) / DAY_US)
        np.testing.assert_allclose(rows.age_N, expected, atol=1e-4)
        assert (rows.age_N >= 0).all()


def test_without_a_cutoff_an_age_counts_from_the_newest_row_of_the_sample():
    batch = build_batch(STATIC.tensors, STATIC.every_B, 0)
    number = [path.name for path in STATIC.recipe.paths].index("orders")
    ages = np.split(batch.paths[number].age_N, batch.paths[number].offsets_B[1:-1])
    for some in ages:
        assert len(some) == 0 or some[-1] == 0
        assert (np.diff(some) <= 0).all()


def test_no_sample_without_a_cutoff_has_an_age_from_the_end_of_time():
    frames = tiny_frames()
    times = frames["orders"]["placed_at"]
    frames["orders"]["placed_at"] = [None if at % 3 == 0 else t for at, t in enumerate(times)]
    tiny = tiny_database(static=True, frames=frames)
    batch = build_batch(tiny.tensors, tiny.every_B, 1)
    assert all((path.age_N < 1000).all() for path in batch.paths)


@pytest.mark.filterwarnings("error")
def test_a_batch_of_memory_mapped_files_equals_one_of_memory(tmp_path):
    write_index(tmp_path / "index", TINY.times, TINY.indexes)
    write_task(tmp_path / "task", TINY.tensors, TINY.tokenizer)
    opened, tokenizer = open_task(tmp_path / "task", tmp_path / "index", tiny_recipe())
    assert tokenizer == TINY.tokenizer
    assert isinstance(opened.tables["orders"].numerical_RC, np.memmap)
    for name, table in TINY.tensors.tables.items():
        assert opened.tables[name].digest() == table.digest()
    chosen = TINY.every_B[5:40:3]
    assert same(build_batch(opened, chosen, 2), build_batch(TINY.tensors, chosen, 2))


def test_a_batch_owns_its_numbers():
    before = TINY.tensors.tables["orders"].digest()
    batch = build_batch(TINY.tensors, TINY.every_B, 2)
    batch.tables["orders"].numerical_RC.zero_()
    batch.label_B.zero_()
    assert TINY.tensors.tables["orders"].digest() == before
    assert TINY.label_B.any()


def test_a_batch_of_no_samples_is_empty():
    batch = build_batch(TINY.tensors, TINY.every_B[:0], 2)
    assert batch.samples == 0
    assert all(len(rows.ids_R) == 0 for rows in batch.tables.values())
