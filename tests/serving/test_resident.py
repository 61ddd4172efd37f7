"""A resident database: a request names entities, and is answered as among everybody."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import moment, stirred, tiny_model
from tiny_artifact import CUTOFF, frames, predictor, shop

from nexus_model.align.recipe import SqlText
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import ConfigurationError, DataError
from nexus_model.serve.predictor import Predictor
from nexus_model.serve.resident import AHEAD, Resident
from nexus_model.tokenize.batch import build_batch

pytestmark = pytest.mark.filterwarnings("ignore")
RANKED = """
select id, shop_id, cast(10 * rank() over (order by age, id) as double) as age, city, joined_at
from validated.customers
"""


def resident(*, static=False):
    return Resident(predictor(static=static), frames(), None if static else CUTOFF)


def comparing():
    """A model whose SQL ranks each customer among all."""
    tiny = shop()
    models = (SqlText(name="customers", sql=RANKED), *tiny.recipe.models)
    recipe = tiny.recipe.model_copy(update={"models": models})
    model = stirred(tiny_model(tiny))
    return Predictor(
        NexusFlowModelArtifact(recipe, tiny.tokenizer, model.config, model.state_dict())
    )


def assert_same_batch(one, other):
    for mine, theirs in zip(one, other, strict=True):
        if isinstance(mine, torch.Tensor):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
        elif isinstance(mine, dict):
            assert mine.keys() == theirs.keys()
            assert_same_batch(tuple(mine.values()), tuple(theirs.values()))
        else:
            assert_same_batch(mine, theirs)


@settings(max_examples=5)
@given(key=st.integers(1, 11), days=st.integers(0, 300), old=st.integers(0, 60))
def test_the_network_is_given_the_same_numbers_as_by_whole_frames(key, days, old):
    whole, cutoff, as_of = predictor(), moment(days), moment(days - old)
    kept = Resident(whole, frames(), moment(300))
    mine = kept.read([kept.named([key], cutoff, as_of)])
    _, theirs = whole.read(frames(), cutoff, as_of, {key})
    batches = [
        build_batch(read, np.array([0]), whole.model.config.parent_hops)
        for read in (mine.tensors, theirs)
    ]
    # History is numbered with windows that close later, which the cutoff keeps from sight.
    one, other = (
        batch._replace(tables={n: t._replace(ids_R=t.ids_R[:0]) for n, t in batch.tables.items()})
        for batch in batches
    )
    assert_same_batch(one, other)


@pytest.mark.parametrize("static", [False, True], ids=["in time", "static"])
def test_everybody_is_predicted_as_by_whole_frames_in_the_order_asked(static):
    at = None if static else CUTOFF
    expected = predictor(static=static).predict(frames(), at)
    keys = expected["id"].to_pylist()[::-1]
    found = resident(static=static).predict(keys, at)
    assert found["id"].to_pylist() == keys
    np.testing.assert_allclose(found["prediction"], expected["prediction"][::-1], atol=1e-6, rtol=0)


def test_sql_that_compares_entities_compares_all_of_them():
    model = comparing()
    among_all = model.predict(frames(), CUTOFF, entities={3})["prediction"][0].as_py()
    own = frames()["customers"].filter(pa.compute.field("id") == 3)
    alone = model.predict(frames(customers=own), CUTOFF)["prediction"][0].as_py()
    kept = Resident(model, frames()).predict([3], CUTOFF)["prediction"][0].as_py()
    assert kept == pytest.approx(among_all, abs=1e-6)
    assert abs(alone - among_all) > 1e-4


def test_requests_of_several_moments_together_are_answered_as_each_alone():
    kept = resident()
    asked = [([1, 5], 60), ([5], 120), ([], 90), ([7, 1], 180)]
    named = [kept.named(keys, moment(days)) for keys, days in asked]
    together = kept.predictor.answers_of(kept.read(named))
    for (keys, days), found in zip(asked, together, strict=True):
        alone = kept.predict(keys, moment(days))
        assert found["id"].to_pylist() == keys
        np.testing.assert_allclose(found["prediction"], alone["prediction"], atol=1e-6, rtol=0)


def test_a_later_moment_is_answered_as_if_it_had_been_known_of():
    kept = Resident(predictor(), frames(), moment(0))
    late = kept.predict([4], moment(240))
    expected = predictor().predict(frames(), moment(240), entities={4})
    np.testing.assert_allclose(late["prediction"], expected["prediction"], atol=1e-6, rtol=0)
    assert kept._kept.until == moment(240) + AHEAD


def test_a_key_nobody_has_is_named():
    with pytest.raises(DataError, match="is asked about and has no row") as caught:
        resident().predict([1, 999], CUTOFF)
    assert caught.value.example == 999


@pytest.mark.parametrize("keys", [["Ulm"], [(1, 2)], [None], [2**70]])
def test_keys_that_are_none_of_the_tables_are_errors_of_the_data(keys):
    with pytest.raises(DataError):
        resident().predict(keys, CUTOFF)


def test_a_missing_cutoff_and_one_too_many_are_errors():
    with pytest.raises(DataError, match="needs cutoff"):
        resident().predict([1])
    with pytest.raises(ConfigurationError, match="no cutoffs"):
        resident(static=True).predict([1], CUTOFF)
