"""Methods behind one signature: a new model each, stages that stop, a size that is reached."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from tiny import stirred, tiny_database, tiny_model

from nexus_model.api.form_report import FormReport, loss_of, measured
from nexus_model.api.former import NexusFormer
from nexus_model.api.optimize_model import optimize_model
from nexus_model.api.shrink import Bench, answers, shrink
from nexus_model.api.smaller import TRAINED, SmallerReport, reach_size, run_stages
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.optimize.methods import (
    Criterion,
    Distil,
    Finetune,
    Int4,
    Int8,
    Structured,
    Unstructured,
    method_of,
)
from nexus_model.optimize.prune import share_left
from nexus_model.schema import ConfigurationError, TaskKind, TaskSpec
from nexus_model.train.config import TrainingConfig

CHEAP = {"largest_loss": 1.0}
METHODS = (
    Int8(**CHEAP),
    Int4(**CHEAP),
    Unstructured(**CHEAP),
    Structured(**CHEAP),
    Finetune(epochs=1, lr=1e-2, **CHEAP),
    Distil(share=0.3, epochs=1, **CHEAP),
)


@cache
def tiny():
    return tiny_database()


@cache
def trained():
    model = stirred(tiny_model(tiny(), width=64, heads=4))
    recipe, tokenizer = tiny().recipe, tiny().tokenizer
    return NexusFlowModelArtifact(recipe, tokenizer, model.config, model.state_dict())


def bench():
    train_B, validation_B = tiny().samples("train"), tiny().samples("validation")
    training = TrainingConfig(batch_size=64, warmup_steps=1)
    return Bench(tiny().tensors, train_B, validation_B, None, training)


def predicted(artifact):
    return answers(artifact, tiny().tensors, tiny().every_B)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_the_model_given_stays_as_it_is(tmp_path, method):
    before = trained().save(tmp_path / "before.nxf")
    found = shrink(trained(), method, bench())
    assert trained().save(tmp_path / "after.nxf") == before
    assert found.optimization["methods"] == [method.model_dump(mode="json")]
    assert not {t.data_ptr() for t in found.weights.values() if t.numel()} & {
        t.data_ptr() for t in trained().weights.values() if t.numel()
    }


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_a_file_predicts_as_the_model_in_memory(tmp_path, method):
    found = shrink(trained(), method, bench())
    found.save(tmp_path / "small.nxf")
    loaded = NexusFlowModelArtifact.load(tmp_path / "small.nxf")
    np.testing.assert_allclose(predicted(loaded), predicted(found), atol=1e-6)


SCRIPT = """
import sys, numpy as np
from nexus_model import load_model
model = load_model(sys.argv[1]).model
np.save(sys.argv[2], np.concatenate([t.numpy().ravel() for t in model.state_dict().values()]))
"""


def test_a_fresh_process_has_the_same_weights(tmp_path):
    small = shrink(shrink(trained(), Unstructured()), Int4())
    small.save(tmp_path / "small.nxf")
    out = tmp_path / "weights.npy"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "small.nxf"), str(out)]
    subprocess.run(command, check=True, timeout=120)
    model = NexusFormer.of(small).model
    here = np.concatenate([t.numpy().ravel() for t in model.state_dict().values()])
    np.testing.assert_array_equal(np.load(out), here)


def test_what_was_pruned_stays_pruned_through_training_and_int8():
    found = shrink(trained(), Unstructured(amount=0.5))
    for method in (Finetune(epochs=1, lr=1e-2), Int8()):
        found = shrink(found, method, bench())
    wide = NexusFormer.of(found).model.state_dict()
    assert share_left(wide) <= 0.5 + 1e-4
    assert found.optimization["weights"] == "int8"
    assert found.optimization["zeros"]


@pytest.mark.parametrize("criterion", [Criterion.MOVEMENT, Criterion.WANDA])
def test_criteria_that_look_at_samples_prune_as_much(criterion):
    found = shrink(trained(), Unstructured(criterion=criterion), bench())
    assert share_left(NexusFormer.of(found).model.state_dict()) == pytest.approx(0.7, abs=1e-3)


@pytest.mark.parametrize("method", [Finetune(), Distil(), Unstructured(criterion="wanda")])
def test_a_method_that_needs_samples_says_so(method):
    with pytest.raises(ConfigurationError, match="bench="):
        shrink(trained(), method)


def test_a_training_that_gains_nothing_is_not_taken():
    found = shrink(trained(), Finetune(epochs=1, lr=1e-12), bench())
    assert all(torch.equal(found.weights[n], t) for n, t in trained().weights.items())


def saved(folder):
    trained().save(folder / "model.nxf")
    return folder / "model.nxf"


def test_stages_run_in_order_and_the_last_is_kept(tmp_path):
    found = run_stages(saved(tmp_path), (METHODS[2], METHODS[0]), bench(), tmp_path)
    forms = [stage.report.form for stage in found.report.stages]
    assert forms == [TRAINED, "unstructured", "unstructured+int8"]
    assert found.report.taken == forms[-1]
    assert found.path.stat().st_size == (found.report.kept.file_bytes)
    assert SmallerReport.model_validate_json(found.report.model_dump_json()).taken == forms[-1]


def test_stages_stop_at_the_last_that_passes(tmp_path):
    costly = Unstructured(amount=0.97, largest_loss=0)
    scores = iter([0.8, 0.8, 0.4])
    found = _with_scores(scores, run_stages, saved(tmp_path), (Int8(), costly, Int4()), tmp_path)
    assert [stage.passed for stage in found.report.stages] == [True, True, False]
    assert found.report.taken == "int8"
    assert "stopped" in found.report.said


def test_what_is_trained_on_next_is_judged_after_that(tmp_path):
    methods = (Unstructured(), Finetune(epochs=1), Int8())
    passed = _with_scores(
        iter([0.8, 0.5, 0.8, 0.8]), run_stages, saved(tmp_path), methods, tmp_path
    )
    assert passed.report.taken == "unstructured+finetune+int8"
    failed = _with_scores(iter([0.8, 0.5, 0.5]), run_stages, saved(tmp_path), methods, tmp_path)
    assert failed.report.taken == TRAINED
    assert failed.path == tmp_path / "model.nxf"


def test_a_metric_that_is_not_defined_passes_no_gate(tmp_path):
    nan = float("nan")
    found = _with_scores(iter([0.8, nan]), run_stages, saved(tmp_path), (Int8(),), tmp_path)
    assert found.report.taken == TRAINED


def _with_scores(scores, call, source, methods, folder):
    """Run with a metric that says these numbers one after another."""
    from nexus_model.api import form_report

    def scripted(kind, prediction, given):
        estimate = next(scores)
        return form_report.Interval(
            metric="auroc", estimate=estimate, low=0, high=1, level=0.95, rows=1, clusters=1
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(form_report, "scored", scripted)
        return call(source, methods, bench(), folder)


def test_a_size_that_is_met_already_is_said(tmp_path):
    found = reach_size(saved(tmp_path), 100, bench(), tmp_path)
    assert found.report.taken == TRAINED
    assert "already met" in found.report.said
    assert len(found.report.stages) == 1


def test_a_size_is_reached_by_the_first_form_that_fits(tmp_path):
    size = saved(tmp_path).stat().st_size / 1e6
    ladder = tuple((method,) for method in METHODS[:2])
    found = reach_size(saved(tmp_path), size / 2, bench(), tmp_path, ladder=ladder)
    assert found.report.taken == "int8"
    assert found.report.reached
    smaller = found.report.kept.file_bytes / 1e6 * 0.9
    found = reach_size(saved(tmp_path), smaller, bench(), tmp_path, ladder=ladder)
    assert found.report.taken == "int4"
    assert len(found.report.stages) == 3


def test_a_size_out_of_reach_says_how_small_it_could_be(tmp_path):
    found = reach_size(saved(tmp_path), 1e-3, bench(), tmp_path, ladder=((METHODS[0],),))
    assert not found.report.reached
    assert found.report.taken == TRAINED
    assert "smallest was" in found.report.said
    assert "(int8)" in found.report.said


def test_a_report_counts_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "small.nxf"
    shrink(shrink(trained(), Unstructured()), Int8()).save(path)
    _, exact = measured(saved(tmp_path), TRAINED, bench(), timed=False)
    report, _ = measured(path, "small", bench(), exact, timed=False)
    assert report.file_bytes == path.stat().st_size
    assert report.share_left == pytest.approx(0.7, abs=0.02)
    assert report.largest_difference > 0
    assert FormReport.model_validate_json(report.model_dump_json()) == report


def test_losses_are_the_same_way_round_for_every_metric():
    again, spent = (
        TaskSpec(name="t", kind=kind, entity_table="e")
        for kind in (TaskKind.BINARY, TaskKind.REGRESSION)
    )
    assert loss_of(again, 0.8, 0.7) > 0 > loss_of(again, 0.7, 0.8)
    assert loss_of(spent, 2.0, 3.0) > 0 > loss_of(spent, 3.0, 2.0)


@pytest.mark.parametrize("name", ["int4", "pruning", "structured"])
def test_a_fitted_model_is_made_smaller_by_name(name):
    given = NexusFormer.of(trained())
    small = optimize_model(given, method=name, amount=0.3)
    assert small.artifact.optimization["methods"]
    assert not given.optimization


def test_methods_have_short_names():
    assert method_of("prune") == Unstructured()
    assert method_of("quantize") == Int8()
