"""A recipe as one prepared statement: the tables its statements give one by one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import as_arrow, moment, tiny_frames
from tiny_artifact import CUTOFF, frames, predictor, shop

from nexus_model.align.recipe import SqlText
from nexus_model.schema import ConfigurationError
from nexus_model.serve import compiled
from nexus_model.serve.staged import StagedDatabase

pytestmark = pytest.mark.filterwarnings("ignore")
NEWEST = """
with recent as (select *, row_number() over (partition by id order by age) as nth from
    validated.customers qualify nth = 1)
select recent.* exclude (nth), date_part('year', recent.joined_at)
    + (select count(*) from aligned.shops as s where s.id >= recent.shop_id) as rank_1,
    case when regexp_matches(recent.city, '^[A-K]') then interval 3 day end as span
from recent left join aligned.shops using (id) where recent.id is not null order by recent.age desc
"""


def staged(*, static=False, models=()):
    recipe = shop(static=static).recipe
    return StagedDatabase(recipe.model_copy(update={"models": (*models, *recipe.models)}))


def step_by_step(one, given, at):
    """The same by the statements one after another."""
    one._connection()
    kept, one._compiled = one._compiled, None
    try:
        return one.align([given], [at])
    finally:
        one._compiled = kept


def assert_equal(mine, theirs):
    assert mine.keys() == theirs.keys()
    for name, table in mine.items():
        assert table.columns.schema == theirs[name].columns.schema, name
        assert table.columns.equals(theirs[name].columns), name
        np.testing.assert_array_equal(table.time_R, theirs[name].time_R, name)
        np.testing.assert_array_equal(table.request_R, theirs[name].request_R, name)


@pytest.mark.parametrize("static", [False, True], ids=["in time", "static"])
def test_one_statement_gives_the_tables_of_many(static):
    one, at = staged(static=static), None if static else CUTOFF
    given = one.typed(frames())
    found = one._at_once(given, at)
    assert found is not None, one.not_compiled
    assert_equal(found, step_by_step(one, given, at))


@settings(max_examples=6)
@given(seed=st.integers(0, 9_999), days=st.sampled_from([-40_000, -400, 0, 59, 180, 300, 9_000]))
def test_any_rows_at_any_moment_one_after_another(seed, days):
    one = predictor().staged
    given = one.typed(as_arrow(shop().recipe, tiny_frames(seed)))
    assert_equal(one.align([given], [moment(days)]), step_by_step(one, given, moment(days)))


def test_sql_of_many_kinds_survives_being_taken_apart():
    one = staged(models=[SqlText(name="customers", sql=NEWEST)])
    given = one.typed(frames())
    found = one._at_once(given, CUTOFF)
    assert found is not None, one.not_compiled
    assert len(found["customers"].time_R) == 11
    assert_equal(found, step_by_step(one, given, CUTOFF))


def test_tables_without_rows_are_given_without_rows():
    one = staged()
    given = one.typed({name: rows.slice(0, 0) for name, rows in frames().items()})
    found = one._at_once(given, CUTOFF)
    assert {len(table.time_R) for table in found.values()} == {0}
    assert_equal(found, step_by_step(one, given, CUTOFF))


def test_many_rows_are_followed_step_by_step(monkeypatch):
    one, given = predictor().staged, predictor().staged.typed(frames())
    monkeypatch.setattr(compiled, "MOST_ROWS", 10)
    assert one._at_once(given, CUTOFF) is None
    assert len(one.align([given], [CUTOFF])["customers"].time_R) == 11


def test_nothing_of_a_request_stays_in_its_places():
    one = staged()
    one.align([one.typed(frames())], [CUTOFF])
    assert {len(place.rows) for place in one._compiled._places.values()} == {0}
    empty = {name: rows.slice(0, 0) for name, rows in frames().items()}
    assert len(one.align([one.typed(empty)], [CUTOFF])["orders"].time_R) == 0


def test_sql_that_cannot_be_one_statement_is_followed_step_by_step():
    sql = "select customers.* from validated.customers where validated.customers.id is not null"
    one = staged(models=[SqlText(name="customers", sql=sql)])
    given = one.typed(frames())
    assert len(one.align([given], [CUTOFF])["customers"].time_R) == 11
    assert one.not_compiled


def test_a_failure_names_the_model_that_fails():
    sql = "select *, cast(city as int) as number from validated.customers"
    one = staged(models=[SqlText(name="customers", sql=sql)])
    given = one.typed(frames())
    assert one._connection()
    assert one._compiled is not None
    with pytest.raises(ConfigurationError, match="SQL model 'customers' failed"):
        one.align([given], [CUTOFF])


def test_a_database_that_keeps_the_rows_of_its_inputs_is_refused(monkeypatch):
    kept = pa.table({"n": [1, 2]})
    monkeypatch.setattr(compiled._Place, "__arrow_c_stream__", lambda *_: kept.__arrow_c_stream__())
    con = compiled.closed_database(threads=1)
    with pytest.raises(ConfigurationError, match="keeps the rows"):
        compiled._check_places(con)
