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
    Knowledge,
    Regime,
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
    starts=st.tuples(st.integers(0, 50), st.integers(1, 20)),
    step=st.integers(1, 9),
    horizon=st.integers(1, 9),
    span=st.tuples(st.integers(0, 70), st.integers(0, 70)),
)
def test_cutoffs_are_every_step_of_their_split_with_a_closed_window(starts, step, horizon, span):
    first, last = min(span), max(span)
    validation, test = starts[0], sum(starts)
    grid = Grid(
        validation_from=moment(validation), test_from=moment(test), step_days=step,
        horizon_days=horizon,
    )  # fmt: skip
    found = closed_database(1).sql(cutoffs_select(grid, moment(first), moment(last))).fetchall()
    closed = range(first, last - horizon + 1)
    expected = [
        c for c in closed if c + horizon <= validation and (validation - horizon - c) % step == 0
    ]
    expected += [
        c for c in closed if validation <= c <= test - horizon and (c - validation) % step == 0
    ]
    expected += [c for c in closed if test <= c and (c - test) % step == 0]
    assert [(day(c), day(w), r) for c, w, r in found] == [(c, c + horizon, True) for c in expected]


def test_training_may_be_asked_more_often_while_history_stays_as_dense():
    grid = Grid(
        validation_from=moment(40), test_from=moment(60), step_days=10, horizon_days=10,
        training_step_days=4,
    )  # fmt: skip
    found = closed_database(1).sql(cutoffs_select(grid, moment(9), moment(80))).fetchall()
    dense, regular = {30, 26, 22, 18, 14, 10}, {30, 20, 10, 40, 50, 60, 70}
    assert [(day(c), r) for c, _, r in found] == [
        (c, c in regular) for c in sorted(dense | regular)
    ]


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


def asked(knowledge, **split):
    """Cutoff, moment of the data, and split of weekly samples of one person."""
    con, times = people([1]), [moment(c) for c in range(0, 100, 10)]
    labels = pa.table({"id": [1] * len(times), "cutoff": times, "label": [1] * len(times)})
    con.register("labels", labels)
    split = TimeSplit(validation_from=moment(37), test_from=moment(67), **split)
    select = samples_select(TASK, PEOPLE, "select * from labels", split, knowledge)
    found = con.sql(f"select cutoff, as_of, split from ({select}) order by sample").fetchall()
    return [(day(cutoff), day(as_of), name) for cutoff, as_of, name in found]


def test_a_sample_knows_all_up_to_its_cutoff_unless_it_is_frozen():
    assert all(cutoff == as_of for cutoff, as_of, _ in asked(Knowledge()))


def test_a_frozen_split_knows_what_was_known_when_it_began():
    found = asked(Knowledge(regime=Regime.FROZEN))
    starts = {"validation": 37, "test": 67}
    assert {name for _, _, name in found} == {"train", "refit", *starts}
    assert all(as_of == starts.get(name, cutoff) for cutoff, as_of, name in found)


def test_what_a_frozen_validation_asks_is_asked_again_as_training_asks_to_be_learned_from():
    found = asked(Knowledge(regime=Regime.FROZEN, stale_copies=3, stale_days=30))
    judged = [cutoff for cutoff, _, name in found if name == "validation"]
    again = [(cutoff, as_of) for cutoff, as_of, name in found if name == "refit"]
    assert [cutoff for cutoff, _ in again] == sorted(judged * 4)
    assert {cutoff for cutoff, as_of in again if cutoff == as_of} == set(judged)
    assert all(cutoff - 30 <= as_of <= cutoff for cutoff, as_of in again)
    assert not [row for row in asked(Knowledge()) if row[2] == "refit"]


def test_frozen_training_samples_are_repeated_as_of_earlier_moments():
    found = asked(Knowledge(regime=Regime.FROZEN, stale_copies=20, stale_days=60))
    trained = [(cutoff, cutoff - as_of) for cutoff, as_of, name in found if name == "train"]
    assert len(trained) == 4 * 21
    assert all(0 <= stale <= 60 for _, stale in trained)
    for cutoff in (0, 10, 20, 30):
        stale = [age for at, age in trained if at == cutoff]
        assert stale.count(0) == 1
        assert len(set(stale)) == len(stale)
        assert np.mean(stale) == pytest.approx(30, abs=3)
    assert len([row for row in found if row[2] in {"validation", "test"}]) == 6


def test_some_training_samples_are_drawn_and_all_others_stay():
    every, some = asked(Knowledge()), asked(Knowledge(), most_training=2)
    assert [row for row in some if row[2] != "train"] == [row for row in every if row[2] != "train"]
    drawn = [row for row in some if row[2] == "train"]
    assert len(drawn) == 2
    assert set(drawn) < set(every)


def test_a_label_may_say_itself_when_it_is_known():
    con = people([1])
    labels = {"id": [1, 1], "cutoff": [moment(30), moment(31)], "label": [0, 1]}
    con.register("labels", pa.table(labels | {"window_end": [moment(36), moment(38)]}))
    split = TimeSplit(validation_from=moment(37), test_from=moment(67))
    arguments = (TASK, PEOPLE, "select * from labels", split, None, "labels.window_end")
    found = con.sql(samples_select(*arguments)).fetchall()
    assert [day(row[1 + 1]) for row in found] == [30]


def test_only_the_first_cutoffs_of_an_evaluated_split_are_asked():
    found = asked(Knowledge(), evaluated_days=10)
    assert [(c, name) for c, _, name in found if name != "train"] == [
        (40, "validation"), (70, "test")
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
