"""Reading requests: the tensors alignment gives, and nobody reads another's rows."""

import datetime as dt
import threading

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import as_arrow, moment, stirred, tiny_frames, tiny_model
from tiny_artifact import CUTOFF, frames, predictor, shop

from nexus_model.align.assemble import (
    build_aligned,
    closed_database,
    entity_rows,
    load_frames,
    sample_times,
)
from nexus_model.align.recipe import SqlText
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import ConfigurationError
from nexus_model.serve.predictor import Predictor
from nexus_model.serve.reading import read_questions
from nexus_model.serve.staged import StagedDatabase
from nexus_model.tokenize.prepare import index_paths, task_tensors

pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = pytest.mark.parametrize("static", [False, True], ids=["in time", "static"])


def reference(tiny, given, cutoff, as_of=None):
    """The same tensors by the pipeline's own statements, in a database of their own."""
    con = closed_database(threads=1)
    absent = load_frames(con, tiny.recipe, given)
    build_aligned(con, tiny.recipe, cutoff)
    times = sample_times(entity_rows(con, tiny.recipe), cutoff, as_of)
    indexes = index_paths(con, tiny.recipe, times)
    found = task_tensors(con, tiny.recipe, tiny.tokenizer, times, indexes)
    con.close()
    return found._replace(absent=absent)


def assert_same(one, other):
    assert one.absent == other.absent
    np.testing.assert_array_equal(one.clock_BF, other.clock_BF)
    for pair in zip(one.times, other.times, strict=True):
        np.testing.assert_array_equal(*pair)
    for mine, theirs in zip(one.indexes, other.indexes, strict=True):
        np.testing.assert_array_equal(mine.offsets_B, theirs.offsets_B)
        np.testing.assert_array_equal(mine.rows_N, theirs.rows_N)
    for name, table in one.tables.items():
        for field, values in table._asdict().items():
            expected = getattr(other.tables[name], field)
            np.testing.assert_array_equal(values, expected, err_msg=f"{name}.{field}")


@KINDS
def test_tensors_are_those_of_the_pipelines_statements(static):
    asked = None if static else CUTOFF
    _, found = predictor(static=static).read(frames(), asked)
    assert_same(found, reference(shop(static=static), frames(), asked))


@settings(max_examples=4)
@given(seed=st.integers(0, 10_000), days=st.integers(0, 300), old=st.integers(0, 60))
def test_any_database_at_any_moment_is_read_as_the_pipeline_reads_it(seed, days, old):
    recipe = shop().recipe
    own = as_arrow(recipe, tiny_frames(seed))
    cutoff, as_of = moment(days), moment(days - old)
    _, found = predictor().read(own, cutoff, as_of)
    assert_same(found, reference(shop(), own, cutoff, as_of))


def test_a_table_that_is_not_given_reads_as_the_pipeline_reads_it():
    given_frames = {name: frame for name, frame in frames().items() if name != "tickets"}
    _, found = predictor().read(given_frames, CUTOFF)
    assert found.absent == {"tickets"}
    assert_same(found, reference(shop(), given_frames, CUTOFF))


def others(seeds):
    """Requests that use the same keys for different rows, each at another cutoff."""
    recipe, model = shop().recipe, predictor()
    for number, seed in enumerate(seeds):
        yield model.question(as_arrow(recipe, tiny_frames(seed)), moment(120 + 30 * number))


def test_requests_with_the_same_keys_together_are_answered_as_each_alone():
    model, questions = predictor(), list(others([1, 2, 3, 4]))
    assert [model.together(question) for question in questions] == [frozenset()] * 4
    together = model.answer(questions)
    for question, found in zip(questions, together, strict=True):
        [alone] = model.answer([question])
        assert found.select(["id"]).equals(alone.select(["id"]))
        np.testing.assert_allclose(found["prediction"], alone["prediction"], atol=1e-6, rtol=0)


@settings(max_examples=3)
@given(seeds=st.lists(st.integers(0, 999), min_size=2, max_size=5), turn=st.integers(1, 4))
def test_the_order_of_requests_changes_nobodys_answer(seeds, turn):
    model, questions = predictor(), list(others(seeds))
    turned = questions[turn % len(seeds) :] + questions[: turn % len(seeds)]
    first = model.answer(questions)
    second = model.answer(turned)
    back = second[-(turn % len(seeds)) :] + second[: -(turn % len(seeds))]
    for one, other in zip(first, back if turn % len(seeds) else second, strict=True):
        np.testing.assert_allclose(one["prediction"], other["prediction"], atol=1e-6, rtol=0)


def with_model(sql):
    recipe = shop().recipe
    models = (SqlText(name="customers", sql=sql), *recipe.models)
    return StagedDatabase(recipe.model_copy(update={"models": models}))


RANKED = """
with seen as (select id, shop_id, age, city, joined_at, rank() over (order by age) as place,
    count(*) over () as everybody from validated.customers)
select seen.id, seen.shop_id, cast(seen.place * 10 + seen.everybody as double) as age, seen.city,
    seen.joined_at from seen where seen.id in (select id from validated.customers) -- a comment
"""


def test_sql_that_ranks_and_counts_all_rows_counts_those_of_one_request():
    staged, model = with_model(RANKED), predictor()
    assert staged.takes_several, staged.refusal
    tokenizer = model.artifact.tokenizer
    few = frames(customers=frames()["customers"].slice(0, 3))
    asked = [model.question(frames(), CUTOFF), model.question(few, CUTOFF)]
    both = read_questions(staged, tokenizer, asked).tensors.tables["customers"].numerical_RC
    alone = [
        read_questions(staged, tokenizer, [one]).tensors.tables["customers"].numerical_RC
        for one in asked
    ]
    np.testing.assert_array_equal(both, np.concatenate(alone))
    assert not np.array_equal(alone[0][:3], alone[1])


def test_sql_that_reads_row_numbers_is_run_for_one_request_at_a_time():
    staged = with_model("select *, 1 as _rows from validated.customers")
    assert not staged.takes_several
    assert "row numbers" in staged.refusal
    with pytest.raises(ValueError, match="cannot be aligned together"):
        staged.align([None, None], [CUTOFF, CUTOFF])


def test_sql_that_fails_is_a_configuration_error_and_leaves_nothing_behind():
    sql = "select *, cast(city as int) as number from validated.customers"
    staged, model = with_model(sql), predictor()
    asked = [model.question(frames(), CUTOFF)]
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="SQL model 'customers' failed"):
            read_questions(staged, model.artifact.tokenizer, asked)


def test_sql_that_runs_too_long_can_be_stopped_and_the_next_request_is_answered():
    slow = """
    select own.* from validated.customers as own, range(300000) as a, range(300000) as b
    where hash(own.id, a.range, b.range) = 1
    """
    staged, model = with_model(slow), predictor()
    assert staged.takes_several
    asked = model.question(frames(), CUTOFF)
    stop = threading.Timer(0.3, staged.interrupt)
    stop.start()
    with pytest.raises(duckdb.InterruptException):
        staged.align([asked.given], [CUTOFF])
    few = model.question(frames(customers=frames()["customers"].slice(0, 0)), CUTOFF)
    assert len(staged.align([few.given], [CUTOFF])["customers"].time_R) == 0


def test_nothing_of_a_request_stays_in_the_database():
    model = predictor()
    model.predict(frames(), CUTOFF)
    left = model.staged._connection().sql("select count(*) from duckdb_tables()").fetchall()
    assert left == [(0,)]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2020-01-05", "2020-02-01 10:00:00.5"], pa.string()),
        (["2020-01-05T10:00:00+02:00", None], pa.string()),
        ([dt.date(2020, 1, 5), None], pa.date32()),
        ([dt.datetime(2020, 1, 5), None], pa.timestamp("ns")),
        ([dt.datetime(2020, 1, 5), None], pa.timestamp("us", "Europe/Berlin")),
    ],
)
def test_moments_are_cast_as_the_pipeline_casts_them(values, kind):
    changed = frames()["tickets"].slice(0, 2)
    place = changed.column_names.index("opened_at")
    changed = changed.set_column(place, "opened_at", pa.array(values, kind))
    _, found = predictor().read(frames(tickets=changed), CUTOFF)
    assert_same(found, reference(shop(), frames(tickets=changed), CUTOFF))


def test_a_model_that_reads_cohorts_answers_each_request_alone():
    tiny = shop()
    model = stirred(tiny_model(tiny, cohort=True))
    made = NexusFlowModelArtifact(tiny.recipe, tiny.tokenizer, model.config, model.state_dict())
    reader = Predictor(made)
    assert reader.reads_cohorts
    assert reader.together(reader.question(frames(), CUTOFF)) is None
