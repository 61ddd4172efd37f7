"""Whole runs of tests over generated tables: exactly what was moved is named, chance is silent.

The full count, 100 draws, is ``python -m benchmarks.drift``.
"""

import json

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.drift import RESULT, SHIFTS, halves, monitor, observe
from nexus_pipeline.monitor.classifier import tell_apart
from nexus_pipeline.monitor.compare import compare_column, compare_tables, decide
from nexus_pipeline.monitor.record import Measure
from nexus_pipeline.monitor.windows import TableRows
from nexus_pipeline.settings.monitoring import MonitoringConfig

CONFIG = MonitoringConfig(most_rows=2_000)
ABOUT = ("input", "t", "c")


@pytest.fixture(scope="module")
def divided():
    """A shop divided by chance, its first half observed."""
    then, now = halves(5, 400)
    return observe(then, CONFIG), now


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.column)
def test_exactly_the_column_that_was_moved_is_named(divided, shift):
    then, now = divided
    found = monitor(then, observe(now, CONFIG, shift.change), CONFIG)
    assert {one.name for one in found if one.moved and one.column} == {shift.column}


def test_a_shop_divided_by_chance_raises_no_alarm(divided):
    then, now = divided
    assert [one.name for one in monitor(then, observe(now, CONFIG), CONFIG) if one.moved] == []


def test_the_measured_share_of_false_alarms_is_within_the_promise():
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    assert measured["draws"] == 100
    assert measured["false_alarms"] <= 5
    assert measured["settings"] == MonitoringConfig().model_dump(mode="json")
    for shift in SHIFTS:
        assert measured["planted"][shift.name]["named_and_nothing_else"] == 10


def test_twenty_draws_of_many_columns_raise_at_most_one_false_alarm():
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(20):
        tables = [
            {"t": TableRows(pa.table({f"c{at}": rng.normal(size=300) for at in range(10)}), 300)}
            for _ in range(2)
        ]
        alarms += any(one.moved for one in decide(CONFIG, compare_tables(CONFIG, *tables)))
    assert alarms <= 1


def test_a_size_over_its_bound_is_no_alarm_while_it_may_be_chance():
    rng = np.random.default_rng(2)
    [found] = decide(CONFIG, compare_column(CONFIG, ABOUT, *rng.normal(size=(2, 15))))
    assert found.size > CONFIG.ks
    assert not found.moved


def test_a_small_change_of_very_many_rows_is_no_alarm():
    rng = np.random.default_rng(3)
    then, now = rng.normal(size=100_000), rng.normal(0.06, size=100_000)
    [found] = decide(CONFIG, compare_column(CONFIG, ABOUT, then, now))
    assert found.corrected < 1e-9
    assert not found.moved


@pytest.mark.parametrize("bound", ["ks", "psi"])
def test_either_size_of_a_number_is_enough(bound):
    other = {"ks": "psi", "psi": "ks"}[bound]
    config = CONFIG.model_copy(update={other: 0.99 if other == "ks" else 99.0})
    then = np.random.default_rng(4).normal(size=1_000)
    [found] = decide(config, compare_column(config, ABOUT, then, then + 1))
    assert found.moved


def test_columns_that_moved_only_together_are_found_by_the_classifier():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(2, 1_000))
    then = {"t": TableRows(pa.table({"a": one, "b": other}), 1_000)}
    now = {"t": TableRows(pa.table({"a": one[::-1], "b": one[::-1] + 0.1 * other}), 1_000)}
    found = [one for one in decide(CONFIG, compare_tables(CONFIG, then, now)) if one.moved]
    assert [one.measure for one in found] == [Measure.CLASSIFIER]
    assert set(found[0].by) == {"a", "b"}


def test_the_classifier_does_not_recognise_members_of_a_group():
    rng = np.random.default_rng(6)
    sides = [np.repeat(rng.normal(size=(30, 3)), 20, axis=0) for _ in range(2)]
    groups = np.repeat(np.arange(30), 20), np.repeat(np.arange(30, 60), 20)
    then, now = ({f"c{at}": side[:, at] for at in range(3)} for side in sides)
    alone, grouped = tell_apart(then, now), tell_apart(then, now, groups)
    assert alone.tested.size > 0.95
    assert abs(grouped.tested.size - 0.5) < 0.2


def test_the_classifier_is_not_asked_about_a_handful_of_rows():
    few = {"c": np.arange(50.0)}
    assert tell_apart(few, few) is None


def test_unseen_categories_are_counted():
    then, now = (np.array(values, dtype=object) for values in (["a"] * 90, ["a"] * 45 + ["z"] * 45))
    [found] = decide(CONFIG, compare_column(CONFIG, ABOUT, then, now))
    assert found.moved
    assert found.unseen == 0.5
