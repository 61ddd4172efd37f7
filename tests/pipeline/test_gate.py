"""The gate: which rule a version breaks, in either direction of a metric."""

import numpy as np
import pytest

from nexus_pipeline.settings.gate import GateConfig
from nexus_pipeline.steps.evaluation import MODEL, Evaluation
from nexus_pipeline.steps.gate import Gate, open_gate
from nexus_pipeline.steps.report_ranking import slice_scores


def evaluation(score=0.7, metric="auroc", **more) -> Evaluation:
    scores = {MODEL: score, "entity_mean": 0.6, "majority_or_mean": 0.5, "lightgbm_entity": 0.9}
    if metric == "mae":
        scores = {MODEL: score, "entity_mean": 0.8, "majority_or_mean": 1.0}
    both = {"validation": scores, "test": {MODEL: 0.0}}
    about = {"artifact_sha256": "a", "data_fingerprint": "d", "commit": "c"}
    return Evaluation(metric=metric, by_split=both, **about, **more)


def champion(score=0.7, **more) -> Gate:
    about = {"version": "3", "artifact_sha256": "b", "rival": "entity_mean", "rival_score": 0.6}
    return Gate(metric="auroc", score=score, passed=True, reason="", **about, **more)


def judged(found: Evaluation, rival: Gate | None = None, **rules) -> Gate:
    return open_gate(found, "4", rival, GateConfig(**rules))


def test_a_version_must_beat_what_is_known_without_a_model_and_no_more_is_asked():
    assert judged(evaluation()).reason == "beats entity_mean on validation"
    closed = judged(evaluation(0.6))
    assert (closed.passed, closed.reason) == (False, "does not beat entity_mean on validation")


def test_where_less_is_better_the_rules_turn_round():
    assert judged(evaluation(0.7, "mae")).passed
    assert not judged(evaluation(0.9, "mae")).passed
    assert not judged(evaluation(0.7, "mae"), minimum=0.5).passed
    assert judged(evaluation(0.4, "mae"), minimum=0.5).passed


def test_a_version_as_good_as_the_champion_passes_and_a_worse_one_does_not():
    assert judged(evaluation(0.7), champion(0.7)).passed
    assert judged(evaluation(0.69), champion(0.7)).reason.endswith("than champion version 3")


def test_a_margin_is_asked_of_challengers_and_not_of_the_first():
    assert judged(evaluation(0.70), margin=0.02).passed
    assert "0.0100 better" in judged(evaluation(0.71), champion(0.7), margin=0.02).reason
    assert judged(evaluation(0.73), champion(0.7), margin=0.02).passed


def test_a_slice_may_lose_so_much_and_is_named():
    now = evaluation(0.75, slices={"region = north": 0.6, "region = south": 0.8, "new = 1": 0.1})
    before = champion(0.7, slices={"region = north": 0.7, "region = south": 0.8})
    assert judged(now, before).passed
    assert judged(now, before, slice_loss=0.2).passed
    closed = judged(now, before, slice_loss=0.05)
    assert closed.reason == "0.1000 worse than champion version 3 where region = north"


def test_probabilities_must_be_calibrated_where_it_is_asked():
    told = evaluation(0.7, calibration_error=0.2)
    assert judged(told).passed
    assert "calibration error 0.2000" in judged(told, calibration_error=0.1).reason
    assert judged(told, calibration_error=0.2).passed


def test_a_score_that_is_not_a_number_passes_nothing():
    assert not judged(evaluation(float("nan"))).passed


def test_the_gate_of_a_version_remembers_its_slices_for_the_next():
    slices = {"region = north": 0.6}
    kept = Gate.model_validate_json(judged(evaluation(slices=slices)).model_dump_json())
    assert kept.slices == slices


@pytest.mark.parametrize(("rows", "found"), [(99, 0), (100, 1)])
def test_a_slice_needs_a_hundred_samples_of_both_classes(rows, found):
    said = np.linspace(0, 1, rows)
    label = (np.arange(rows) % 2).astype(float)
    of_row = {"region": np.full(rows, "north")}
    every = np.arange(rows)
    assert len(slice_scores("auroc", said, label, of_row, every)) == found
    assert slice_scores("auroc", said, np.zeros(rows), of_row, every) == {}
    assert slice_scores("auroc", said, label, of_row, every[:99]) == {}
