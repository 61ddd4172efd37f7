"""What a fitted model is asked, and what one that is not answers."""

import json

import numpy as np
import pytest
import tiny_artifact
from seed_snippets.shop import ONE_EPOCH, SMALL, fitted, frames, prepared, untrained

import nexus_model
import nexusflow
from nexus_model import NexusFlowModelArtifact, NexusFormer
from nexus_model.schema import ArtifactError, ConfigurationError, DataError


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.save("production.nxf"),
        lambda model: model.predict({}),
        lambda model: model.visualize_flow(),
        lambda model: model.to("cpu"),
        nexus_model.optimize_model,
    ],
)
def test_a_model_that_is_not_fitted_says_so(ask):
    with pytest.raises(ConfigurationError, match=r"call fit\(...\)"):
        ask(NexusFormer())


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigurationError, match="shrinking"):
        nexus_model.optimize_model(fitted(), method="shrinking")


def test_a_missing_a_wrong_and_a_cut_file_are_three_errors(tmp_path):
    fitted().save(tmp_path / "whole.nxf")
    (tmp_path / "wrong.nxf").write_text("hello")
    (tmp_path / "cut.nxf").write_bytes((tmp_path / "whole.nxf").read_bytes()[:5000])
    told = set()
    for name in ("missing", "wrong", "cut"):
        with pytest.raises((ArtifactError, OSError)) as error:
            nexusflow.load_model(tmp_path / f"{name}.nxf")
        told.add(str(error.value).replace(name, ""))
    assert len(told) == 3


def test_a_trained_network_becomes_a_small_artifact(tmp_path):
    network, loaders = untrained()
    best = nexus_model.NexusFlowTrainer(network, ONE_EPOCH).train(
        *loaders, auto_optimize="quantization"
    )
    parts = {"preprocessors": prepared().recipe, "feature_tokenizers": prepared().tokenizer}
    small = NexusFlowModelArtifact(model=best, **parts)
    assert any(name.endswith(".int8") for name in small.stored.weights)
    small.save(tmp_path / "small.nxf")
    found = NexusFlowModelArtifact.load(tmp_path / "small.nxf").predict(frames(seed=1))
    best.optimization = None
    exact = NexusFlowModelArtifact(model=best, **parts).predict(frames(seed=1))
    difference = np.subtract(*(t["prediction"].to_numpy() for t in (found, exact)))
    assert abs(difference).max() < 1e-6


def test_parameters_summary_and_preprocessing_are_json():
    model = fitted()
    for told in (model.get_params(), model.summary(), model.get_preprocessing_info()):
        assert json.loads(json.dumps(told)) == told
    assert model.summary()["tables"]["customers"] == {
        "encoder": "standard", "width": 16, "columns": 2,
    }  # fmt: skip
    assert NexusFormer(["tabnet"], **SMALL).get_params()["settings"]["width"] == 16


def test_shares_of_attention_sum_to_one_and_follow_the_batch():
    model = fitted()
    seen = np.array(model.get_attention_summary()["passes"])
    np.testing.assert_allclose(seen.sum(-1), 1, atol=1e-5)
    one, other = (model.get_attention_summary(frames(seed=n))["passes"] for n in (1, 2))
    assert one != other
    assert one == model.get_attention_summary(frames(seed=1))["passes"]


def test_a_smaller_model_does_not_claim_the_attention_of_the_larger():
    smaller = nexus_model.optimize_model(fitted())
    with pytest.raises(ConfigurationError, match="batch"):
        smaller.get_attention_summary()
    assert smaller.summary()["scores"] == {}
    assert smaller.get_attention_summary(frames(seed=1))["top_pairs"]


def test_a_model_in_time_takes_a_cutoff():
    model = NexusFormer.of(tiny_artifact.artifact())
    given, cutoff = tiny_artifact.frames(), tiny_artifact.CUTOFF
    assert model.predict(given, cutoff).equals(tiny_artifact.predicted())
    assert model.get_attention_summary(given, cutoff)["tables"][0] == "customers"
    with pytest.raises(DataError, match="cutoff"):
        model.get_attention_summary(given)
