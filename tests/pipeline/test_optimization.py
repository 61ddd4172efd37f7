"""The optimization section: its stages are assets with a blocking check, and only if asked for."""

import pytest
from pydantic import ValidationError

from nexus_model.api.smaller import allowances
from nexus_model.optimize.methods import Distil, Finetune, Int8, Unstructured
from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.defs.making import OPTIMIZATION
from nexus_pipeline.defs.optimized import optimized_checks, optimized_makings
from nexus_pipeline.project import ProjectConfig, load_project, optimization_of
from nexus_pipeline.settings.optimization import OptimizationConfig


def project(**optimization) -> ProjectConfig:
    found = load_project("nexusflow.yaml")
    asked = OptimizationConfig(**optimization) if optimization else None
    return found.model_copy(update={"optimization": asked})


def keys(found: ProjectConfig) -> list[str]:
    return [making.key for making in optimized_makings(found) if making.job == OPTIMIZATION]


def test_without_the_section_there_are_no_stages():
    assert not keys(project())
    assert optimization_of(project()) == OptimizationConfig()


def test_stages_follow_one_another():
    found = project(stages="prune, finetune, quantize")
    of_dnf = [key for key in keys(found) if "/dnf_" in key]
    assert of_dnf == [f"f1/optimized/dnf_{n}" for n in ("1_prune", "2_finetune", "3_quantize")]
    made = {making.key: making for making in optimized_makings(found)}
    assert made[of_dnf[0]].upstream[0] == "f1/optimized/dnf"
    assert made[of_dnf[2]].upstream[0] == of_dnf[1]


def test_every_stage_has_a_blocking_check():
    found = project(stages="quantize")
    blocking = [
        spec
        for checks in optimized_checks(found)
        for spec in checks.check_specs
        if spec.name == "the_stage_costs_no_more_than_allowed"
    ]
    assert len(blocking) == len(found.task_names)
    assert all(spec.blocking for spec in blocking)


def test_stages_are_a_job_of_their_own():
    jobs = {job.name for job in build_definitions(project(stages="quantize")).jobs or ()}
    assert {"f1_everything", "f1_optimization"} <= jobs
    assert "f1_optimization" not in {job.name for job in build_definitions(project()).jobs or ()}


def test_a_training_run_does_not_look_at_stages():
    job = build_definitions(project(stages="quantize")).resolve_job_def("f1_everything")
    chosen = {node.name for node in job.nodes}
    assert any(name.endswith("optimized__dnf") for name in chosen)
    assert not any("1_quantize" in name for name in chosen)


def test_a_target_size_is_searched_and_not_staged():
    assert not keys(project(target_size_mb=1.0))


def test_settings_become_methods():
    found = OptimizationConfig(
        stages="prune, finetune, distil, quantize", amount=0.5, epochs=3, largest_loss=0.01
    ).methods()
    assert found[0] == Unstructured(amount=0.5, largest_loss=0.01, criterion="wanda")
    assert found[1] == Finetune(epochs=3, largest_loss=0.01)
    assert isinstance(found[2], Distil)
    assert allowances(found) == [None, 0.01, 0.01, 0.01]
    assert allowances((Unstructured(), Int8())) == [0.005, 0.005]


@pytest.mark.parametrize("wrong", [{"stages": "melt"}, {"stages": ()}, {"amount": 1.0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        OptimizationConfig(**wrong)
