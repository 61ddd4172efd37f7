"""A part of the children at a time, a table at a time: the same as all at once."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.speed.features import generated
from benchmarks.speed.features import recipe as recipe_of_both
from nexus_model.align import children
from nexus_model.align.assemble import build_aligned, closed_database, load_frames
from nexus_model.align.children import newest_children
from nexus_model.align.index import SampleTimes
from nexus_model.align.plan import Down
from nexus_model.tokenize.prepare import (
    Labeled,
    fit_tokenizer,
    index_paths,
    task_tensors,
    write_fitted,
    write_task,
)

EVENTS = Down(table="events", key=0, most=9, only_dated=True)
ROWS, PARENTS = 30_000, 40


@pytest.fixture(scope="module")
def linked():
    """Children of which one parent has most, more than a part; some without a parent or a time."""
    con, random = closed_database(threads=1), np.random.default_rng(0)
    parent_R = np.where(random.random(ROWS) < 0.5, 7, random.integers(-3, PARENTS, ROWS))
    moment_R = np.where(random.random(ROWS) < 0.1, -1, random.integers(0, 500, ROWS))
    con.register("made", {"parent": parent_R, "moment": moment_R, "row": np.arange(ROWS)})
    con.execute(
        "create table aligned.links_events as select row as _row, "
        "nullif(moment, -1) as _moment, if(parent < 0, null, parent) as _fk_0 from made"
    )
    return con, parent_R, moment_R


def by_looking(parent_R, moment_R, parent, as_of, most):
    rows = np.flatnonzero(parent_R == parent)
    if as_of is not None:
        rows = rows[(moment_R[rows] >= 0) & (moment_R[rows] <= as_of)]
    return rows[np.lexsort((rows, moment_R[rows]))][-most:].tolist()


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("part_rows", [1, 1 << 18])
def test_parts_of_whole_parents_give_what_looking_at_every_row_gives(
    linked, monkeypatch, dated, part_rows
):
    con, parent_R, moment_R = linked
    monkeypatch.setattr(children, "PART_ROWS", part_rows)
    random = np.random.default_rng(1)
    parent_Q, as_of_Q = random.integers(-1, PARENTS + 2, 200), random.integers(-2, 520, 200)
    seen = newest_children(con, EVENTS, parent_Q, as_of_Q if dated else None)
    found = np.split(seen.rows_N, np.cumsum(seen.counts_Q)[:-1])
    asked = zip(parent_Q, as_of_Q if dated else [None] * 200, strict=True)
    truth = [by_looking(parent_R, moment_R, *one, 9) if one[0] >= 0 else [] for one in asked]
    assert [rows.tolist() for rows in found] == truth


def test_small_parts_are_many_and_no_parent_is_in_two(linked, monkeypatch):
    con, parent_R, _ = linked
    monkeypatch.setattr(children, "PART_ROWS", 1)
    parts = list(children._parts(con, EVENTS, np.arange(PARENTS), is_timed=False))
    assert len(parts) > 3
    parents = [set(part.parent_R.tolist()) for part in parts]
    assert sum(map(len, parents)) == len(set().union(*parents)) == PARENTS
    assert sum(len(part.row_R) for part in parts) == (parent_R >= 0).sum()


def test_nobody_asked_about_sees_nothing(linked):
    none = np.zeros(0, np.int64)
    seen = newest_children(linked[0], EVENTS, none, none)
    assert len(seen.counts_Q) == len(seen.rows_N) == 0


def test_a_table_at_a_time_is_written_as_all_at_once(tmp_path):
    generated(tmp_path, "small")
    recipe, con = recipe_of_both(), closed_database(threads=1)
    names = ("entities", "events")
    load_frames(con, recipe, {name: pq.read_table(tmp_path / f"{name}.parquet") for name in names})
    build_aligned(con, recipe, None)
    asked = pq.read_table(tmp_path / "samples_grid.parquet")
    moment_B = asked["cutoff"].to_numpy().astype("datetime64[us]").astype(np.int64)
    times = SampleTimes(asked["entity_id"].to_numpy(), moment_B, moment_B)
    indexes = index_paths(con, recipe, times)
    label_B, train_B = np.arange(len(moment_B)) % 2.0, np.arange(len(moment_B)) < 100
    tokenizer = fit_tokenizer(con, recipe, times, indexes, label_B, train_B)
    whole = task_tensors(con, recipe, tokenizer, times, indexes, label_B)
    write_task(tmp_path / "whole", whole, tokenizer)
    write_fitted(con, recipe, tmp_path / "each", Labeled(times, label_B, train_B), indexes)
    files = [file for file in (tmp_path / "whole").rglob("*") if file.is_file()]
    assert len(files) > 14
    for file in files:
        twin = tmp_path / "each" / file.relative_to(tmp_path / "whole")
        assert file.read_bytes() == twin.read_bytes(), file.name
