"""Who is asked about, when, and for what: cutoffs, splits, closed windows."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import CLASS, START, moment, table_spec, tiny_database, tiny_frames

from nexus_model.align.assemble import closed_database, first_time
from nexus_model.align.index import NEVER
from nexus_model.align.relate import number_rows
from nexus_model.align.samples import (
    EntitySplit,
    Grid,
    TimeSplit,
    cutoffs_select,
    history_name,
    samples_select,
    static_samples_select,
)
from nexus_model.schema import TaskKind, TaskSpec

TASK = TaskSpec(name="buys", kind=TaskKind.BINARY, entity_table="people", horizon_days=7)
PEOPLE = table_spec("people", {"city": CLASS})


def day(time):
    return (time - START).days


def people(ids):
    """An aligned table of people with these ids."""
    con = closed_database(threads=1)
    con.register("incoming", pa.table({"id": ids, "city": [f"c{i % 2}" for i in ids]}))
    number_rows(con, "select * from incoming", PEOPLE)
    return con


@given(
    anchor=st.integers(0, 50),
    step=st.integers(1, 9),
    horizon=st.integers(1, 9),
    span=st.tuples(st.integers(0, 50), st.integers(0, 50)),
)
def test_cutoffs_are_every_step_around_the_anchor_with_a_closed_window(anchor, step, horizon, span):
    first, last = min(span), max(span)
    grid = Grid(anchor=moment(anchor), step_days=step, horizon_days=horizon)
    found = closed_database(1).sql(cutoffs_select(grid, moment(first), moment(last))).fetchall()
    expected = [c for c in range(first, last - horizon + 1) if (c - anchor) % step == 0]
    assert [(day(c), day(w)) for c, w in found] == [(c, c + horizon) for c in expected]


@given(cutoffs=st.sets(st.integers(0, 40), min_size=1, max_size=11), early=st.integers(5, 20))
def test_no_window_straddles_a_split_and_no_other_is_lost(cutoffs, early):
    con, split = people([1]), TimeSplit(validation_from=moment(early), test_from=moment(early + 9))
    times = [moment(c) for c in sorted(cutoffs)]
    labels = pa.table({"id": [1] * len(times), "cutoff": times, "label": [1] * len(times)})
    con.register("labels", labels)
    select = samples_select(TASK, PEOPLE, "select * from labels", split)
    found = [(day(c), s) for c, s in con.sql(f"select cutoff, split from ({select})").fetchall()]
    expected = []
    for c in sorted(cutoffs):
        whole = {
            "train": c + 7 <= early,
            "validation": early <= c and c + 7 <= early + 9,
            "test": early + 9 <= c,
        }
        expected += [(c, name) for name, fits in whole.items() if fits]
    assert found == expected


def test_samples_are_the_labelled_entities_in_order_of_cutoff_and_row():
    con = people([5, 3, 8])
    rows = [(8, 2, 1.0), (3, 2, None), (5, 1, 0.0), (8, 1, 1.0), (77, 1, 1.0)]
    labels = [{"id": i, "cutoff": moment(c), "label": y} for i, c, y in rows]
    con.register("labels", pa.Table.from_pylist(labels))
    split = TimeSplit(validation_from=moment(50), test_from=moment(60))
    found = con.sql(samples_select(TASK, PEOPLE, "select * from labels", split)).fetchall()
    assert [(r[0], r[1], day(r[2]), r[3], r[5]) for r in found] == [
        (0, 5, 1, 0.0, 1), (1, 8, 1, 1.0, 2), (2, 8, 2, 1.0, 2)
    ]  # fmt: skip


def splits_of(ids, **sizes):
    """Split by id, drawn for a static task."""
    task = TaskSpec(
        name="city", kind=TaskKind.BINARY, entity_table="people", target_column="city",
        classes=("c0", "c1"),
    )  # fmt: skip
    split = EntitySplit(**{"validation_size": 0.2, "test_size": 0.3, "seed": 4} | sizes)
    con = people(ids)
    select = static_samples_select(task, PEOPLE, split)
    return dict(con.sql(f"select id, split from ({select})").fetchall())


def test_an_entity_lands_in_the_same_split_whoever_is_beside_it():
    every = splits_of(list(range(101)))
    assert splits_of(list(range(100, 40, -3))) == {i: every[i] for i in range(100, 40, -3)}


def test_the_split_shares_are_as_asked():
    names, counts = np.unique(list(splits_of(list(range(4001))).values()), return_counts=True)
    shares = dict(zip(names, counts / 4001, strict=True))
    assert shares == pytest.approx({"train": 0.5, "validation": 0.2, "test": 0.3}, abs=0.025)


def test_another_seed_draws_another_split():
    assert splits_of(list(range(53))) != splits_of(list(range(53)), seed=5)


def test_a_static_task_has_one_sample_per_labelled_entity_without_a_cutoff():
    tiny = tiny_database(static=True)
    assert tiny.times.entity_B.tolist() == list(range(11))
    assert (tiny.times.cutoff_B == NEVER).all()
    assert set(tiny.label_B) == {0.0, 1.0}


def test_a_sample_sees_the_label_windows_that_have_closed_and_no_other():
    tiny = tiny_database()
    history = history_name(tiny.recipe.task)
    rows = tiny.con.sql(f"select id, epoch_us(_time) from aligned.{history} order by _row")
    ids, ends = (np.array(column) for column in zip(*rows.fetchall(), strict=True))
    number = [path.table for path in tiny.recipe.paths].index(history)
    index = tiny.indexes[number]
    for sample, cutoff in enumerate(tiny.times.cutoff_B):
        entity = tiny.times.entity_B[sample] + 1
        closed = np.flatnonzero((ids == entity) & (ends <= cutoff))
        seen = index.rows_N[index.offsets_B[sample] : index.offsets_B[sample + 1]]
        assert seen.tolist() == closed[np.argsort(ends[closed])][-5:].tolist()


def test_a_past_label_is_the_label_of_its_window():
    tiny = tiny_database()
    history = history_name(tiny.recipe.task)
    past = tiny.con.sql(
        f"select cast(past_label as double), label from aligned.{history} as history "
        "inner join aligned.samples as samples using (id, window_end)"
    ).fetchall()
    assert len(past) == len(tiny.label_B)
    assert all(said == label for said, label in past)


def test_the_first_time_is_that_of_the_aligned_tables_alone():
    tiny, frames = tiny_database(), tiny_frames()
    timed = {"orders": "placed_at", "tickets": "opened_at", "prices": "set_at"}
    known = [time for name, column in timed.items() for time in frames[name][column]]
    assert first_time(tiny.con, tiny.recipe) == min(known)
    # A table that is loaded but not yet numbered is none of them.
    tiny.con.execute("drop table aligned.prices")
    assert first_time(tiny.con, tiny.recipe) is not None
