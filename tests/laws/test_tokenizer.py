"""Cells as numbers: what is fitted on whom, and what every odd value becomes."""

import datetime as dt
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny import CLASS, MOMENT, moment, table_spec, tiny_database, tiny_frames, tiny_recipe

from nexus_model.align.assemble import closed_database
from nexus_model.align.index import SampleTimes
from nexus_model.align.relate import number_rows
from nexus_model.schema import TaskKind
from nexus_model.tokenize import columns
from nexus_model.tokenize.columns import MISSING, UNKNOWN
from nexus_model.tokenize.fit import encode_table, entity_stamps, fit_label, fit_table
from nexus_model.tokenize.statistics import (
    CategoricalColumn,
    LabelScale,
    NumericalColumn,
    NumericalScaling,
    Tokenizer,
)

REGRESSION = TaskKind.REGRESSION
SCALINGS = list(NumericalScaling)
YEAR = dt.timedelta(days=365.25)

floats = st.floats(width=64) | st.sampled_from([0.0, 1e308, -1e308, 5e-324])
columns_of_floats = st.lists(floats, min_size=1, max_size=23).map(np.array)


def finite(values):
    """The column as the tokenizer reads it: what is not finite is missing."""
    return columns.numbers(pa.chunked_array([pa.array(values, pa.float64())]))


def scaled(values, scaling=NumericalScaling.STANDARD, of=None):
    """The column scaled by its own statistics, or by those of another."""
    fitted = columns.fit_numerical("x", finite(values if of is None else of), scaling)
    return columns.encode_numerical(finite(values), fitted)


def later_rows_changed(after):
    """The tiny frames with every dated row after a day made very different."""
    frames = tiny_frames()
    for table, time, column, value in (
        ("orders", "placed_at", "total", 1e6),
        ("orders", "placed_at", "channel", "carrier pigeon"),
        ("tickets", "opened_at", "body", "quite another text"),
        ("prices", "set_at", "level", -1e6),
    ):
        rows = zip(frames[table][time], frames[table][column], strict=True)
        frames[table][column] = [value if at > moment(after) else old for at, old in rows]
    return frames


@pytest.mark.parametrize("scaling", SCALINGS)
def test_rows_that_only_test_samples_see_leave_the_tokenizer_unchanged(scaling):
    # The last training window closes on day 150.
    first = tiny_database(REGRESSION, scaling=scaling).tokenizer
    second = tiny_database(REGRESSION, scaling=scaling, frames=later_rows_changed(150)).tokenizer
    assert first.model_dump_json() == second.model_dump_json()


def test_rows_that_training_samples_see_change_the_tokenizer():
    first = tiny_database(REGRESSION).tokenizer
    second = tiny_database(REGRESSION, frames=later_rows_changed(60)).tokenizer
    assert "carrier pigeon" in second["orders"].categorical[0].vocabulary
    assert first["prices"] != second["prices"]


def test_the_order_of_input_rows_leaves_the_tokenizer_unchanged():
    frames = tiny_frames()
    for table in frames.values():
        for column in table:
            table[column] = table[column][::-1]
    assert tiny_database(frames=frames).tokenizer == tiny_database().tokenizer


@pytest.mark.parametrize("kind", list(TaskKind))
@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_tokenizer_comes_back_from_json_as_it_was(kind, scaling):
    tokenizer = tiny_database(kind, scaling=scaling).tokenizer
    assert Tokenizer.model_validate_json(tokenizer.model_dump_json()) == tokenizer


@pytest.mark.parametrize("scaling", SCALINGS)
@given(values=columns_of_floats)
@example(values=np.array([-1.7e308, 1.7e308]))
def test_fitted_statistics_survive_json_whatever_the_column_holds(scaling, values):
    fitted = columns.fit_numerical("x", finite(values), scaling)
    assert NumericalColumn.model_validate_json(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize("scaling", SCALINGS)
@given(values=columns_of_floats, of=columns_of_floats)
def test_scaled_numbers_are_finite_bounded_and_in_order(scaling, values, of):
    found, present = scaled(np.sort(values), scaling, of)
    assert np.isfinite(found).all()
    assert (np.abs(found) <= columns.CLIP).all()
    assert (np.diff(found[present]) >= 0).all()


def test_labels_are_centred_on_their_median_and_a_constant_has_spread_one():
    task = tiny_recipe(REGRESSION).task
    found = fit_label(task, np.array([1.0, 2.0, 9.0]))
    assert (found.center, found.spread) == pytest.approx((2.0, np.std([1, 2, 9])))
    assert fit_label(task, np.full(7, 1e9 / 3)).spread == 1
    assert fit_label(tiny_recipe().task, np.array([0.0, 1.0])) == LabelScale()


@given(values=columns_of_floats)
def test_what_is_missing_or_not_finite_is_zero_and_not_present(values):
    found, present = scaled(values)
    assert (present == np.isfinite(values)).all()
    assert (found[~present] == 0).all()


def test_standard_scaling_gives_mean_zero_and_deviation_one():
    found, _ = scaled(np.random.default_rng(0).normal(7, 3, 1009))
    assert found.mean() == pytest.approx(0, abs=1e-6)
    assert found.std() == pytest.approx(1, abs=1e-6)


def test_quantile_scaling_gives_a_normal_shape_whatever_the_tail():
    found, _ = scaled(np.random.default_rng(0).lognormal(0, 4, 4001), NumericalScaling.QUANTILE)
    assert np.quantile(found, [0.16, 0.5, 0.84]) == pytest.approx([-1, 0, 1], abs=0.05)


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3, -1e300 / 3])
def test_a_constant_column_is_zero(value, scaling):
    found, present = scaled(np.full(7, value), scaling)
    assert present.all()
    assert (found == 0).all()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["1.5", " 2 ", "-3e2", "DNF", None]), [1.5, 2, -300, np.nan, np.nan]),
        (pa.array([2**60, None]), [2.0**60, np.nan]),
        (pa.array([True, False, None]), [1, 0, np.nan]),
        (pa.array([None, None]), [np.nan, np.nan]),
        (pa.array([np.inf, -np.inf, 1.0]), [np.nan, np.nan, 1]),
    ],
    ids=["text", "large", "boolean", "null", "infinite"],
)
def test_numbers_of_any_type_are_read_and_what_is_none_is_missing(column, expected):
    np.testing.assert_array_equal(columns.numbers(column), np.array(expected, float))
    np.testing.assert_array_equal(columns.numbers(pa.chunked_array([column])), expected)


def test_categories_are_coded_in_order_with_missing_and_unknown_apart():
    fitted = columns.fit_categorical("c", pa.array(["b", None, "a", "b"]))
    assert fitted == CategoricalColumn(name="c", vocabulary=("a", "b"))
    found = columns.encode_categorical(pa.array(["a", "b", "new", None, ""]), fitted)
    assert found.tolist() == [2, 3, UNKNOWN, MISSING, UNKNOWN]


def test_a_column_without_a_value_has_only_missing_and_unknown():
    fitted = columns.fit_categorical("c", pa.array([None, None], pa.string()))
    assert fitted.size == 2
    found = columns.encode_categorical(pa.chunked_array([["x", None]]), fitted)
    assert found.tolist() == [UNKNOWN, MISSING]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([dt.datetime(9999, 12, 31), None]),
        pa.array([dt.date(9999, 12, 31), None]),
        pa.array([dt.datetime(9999, 12, 31, tzinfo=dt.UTC), None]),
        pa.array(["9999-12-31", None]),
    ],
    ids=["far", "date", "zoned", "text"],
)
def test_moments_of_any_type_are_microseconds_since_1970(column):
    found = columns.microseconds(pa.chunked_array([column]))
    np.testing.assert_array_equal(found, [2.534022144e17, np.nan])


def test_nanoseconds_are_rounded_not_refused():
    column = pa.chunked_array([pa.array([1_001], pa.timestamp("ns"))])
    assert columns.microseconds(column).tolist() == [1.0]


def dated_cells(shift, *, timed):
    """Temporal cells of three rows whose stamp and own time are shifted together."""
    table = table_spec("t", {"due": MOMENT}, time="at" if timed else None)
    stamps = [moment(day) + shift for day in (10, 20, 40)]
    own = np.array([moment(day) + shift for day in (9, 15, 20)], "datetime64[us]").astype(np.int64)
    features = pa.table({"due": pa.array(stamps, pa.timestamp("us"))})
    fitted = fit_table(features, table, own, np.ones(3, bool))
    found = encode_table(features, table, fitted, own, np.zeros((3, 0), np.int64))
    return fitted.temporal[0].mean, found.temporal_RCF[:, 0, 0]


def test_a_moment_is_read_relative_to_its_rows_time():
    first, second = dated_cells(0 * YEAR, timed=True), dated_cells(11 * YEAR, timed=True)
    np.testing.assert_allclose(first[1], second[1], atol=1e-6)
    assert first[0] == pytest.approx((1 + 5 + 20) / 3 / 365.25)


def test_a_moment_in_a_table_without_time_is_years_since_2000():
    assert dated_cells(0 * YEAR, timed=False)[0] == pytest.approx(20.06, abs=0.01)


def test_season_and_weekday_come_back_after_a_year_and_a_week():
    stamps = np.array([0.0, columns.YEAR_US, np.nan])
    np.testing.assert_allclose(columns.season(stamps), [[0, 1], [0, 1], [0, 0]], atol=1e-6)


def test_text_is_fitted_and_read_alike_in_every_process():
    line = (
        "import pyarrow as pa; from nexus_model.tokenize import columns as c; "
        "t = pa.array(['Straße late', None, 'late again']); f = c.fit_text('t', t); "
        "print(c.encode_text(t, f, f.length).tolist())"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", line], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in "12"
    }  # fmt: skip
    column = pa.array(["Straße late", None, "late again"])
    fitted = columns.fit_text("t", column)
    assert told == {f"{columns.encode_text(column, fitted, fitted.length).tolist()}\n"}


def test_texts_share_sub_words_where_they_share_words_and_missing_is_empty():
    column = pa.array(["late again", "Late", None, ""])
    fitted = columns.fit_text("t", column)
    again, late, missing, empty = columns.encode_text(column, fitted, 30)
    assert set(late[late > 0]) <= set(again)
    assert again.shape == (30,)
    assert not missing.any()
    assert not empty.any()
    assert again.max() < fitted.vocabulary


def test_an_all_null_column_of_a_table_is_fitted_and_encoded():
    frames = tiny_frames()
    for table, column in (("orders", "total"), ("customers", "city"), ("customers", "joined_at")):
        frames[table][column] = [None] * len(frames[table][column])
    tiny = tiny_database(frames=frames)
    assert not tiny.tensors.tables["orders"].present_RC[:, 0].any()
    assert not tiny.tensors.tables["customers"].categorical_RC.any()
    assert not tiny.tensors.clock_BF[:, 3].any()


def test_keys_and_the_time_column_are_no_features():
    for spec, fitted in zip(
        tiny_recipe().database.tables, tiny_database().tokenizer.tables, strict=True
    ):
        parts = (fitted.numerical, fitted.categorical, fitted.temporal, fitted.text)
        names = {column.name for part in parts for column in part}
        assert not names & {*spec.key_columns, spec.time_column}


def test_a_category_no_training_sample_saw_is_unknown_to_every_row():
    table = table_spec("t", {"c": CLASS})
    features = pa.table({"c": ["seen", "late", "seen"]})
    never, seen = np.full(3, np.iinfo(np.int64).max), np.array([True, False, True])
    fitted = fit_table(features, table, never, seen)
    found = encode_table(features, table, fitted, never, np.zeros((3, 0), np.int64))
    assert found.categorical_RC[:, 0].tolist() == [2, UNKNOWN, 2]


def test_the_age_of_an_entity_is_not_known_before_its_row_is():
    users = table_spec("users", {"born": MOMENT}, time="at")
    con = closed_database(1)
    rows = [{"id": i, "born": moment(i), "at": moment(5)} for i in range(2)]
    con.register("incoming", pa.Table.from_pylist(rows))
    number_rows(con, "select * from incoming", users)
    cutoffs = np.array([moment(4), moment(5)], "datetime64[us]").astype(np.int64)
    found = entity_stamps(con, users, SampleTimes(np.array([1, 1]), cutoffs + 1, cutoffs))["born"]
    np.testing.assert_array_equal(found, [np.nan, 1577923200e6])
