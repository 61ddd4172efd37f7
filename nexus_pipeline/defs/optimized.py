"""Optimized: the ``.nxf`` artifact of every task, and its INT8 form."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from nexus_model.optimize.methods import Method
from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import OPTIMIZATION, Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop, default_resources
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.storage.resource import StoreResource

if TYPE_CHECKING:
    from nexus_model.api.smaller import SmallerReport

CODE = (
    "nexus_model/artifact",
    "nexus_model/optimize",
    "nexus_model/serve",
    "nexus_pipeline/steps/optimize_task.py",
)
STAGE_CODE = (
    *CODE, "nexus_model/api/shrink.py", "nexus_model/api/form_report.py",
    "nexus_pipeline/steps/smaller_task.py",
)  # fmt: skip
LARGEST_INT8_LOSS = 0.005


def optimized_makings(project: ProjectConfig) -> list[Making]:
    """The artifacts of every task, and one for each stage of the optimization asked for."""
    found = [_artifact(project, task) for task in project.task_names]
    stages = stage_names(project)
    return found + [
        _stage(project, task, at) for task in project.task_names for at in range(len(stages))
    ]


def optimize_models(
    project: ProjectConfig, tasks: Sequence[str], say: Callable[[str], None]
) -> dict[str, "SmallerReport"]:
    """Make the trained models of these tasks smaller, saying what is under way; a report of each.

    Raises:
        ConfigurationError: a method cannot do what is asked.
    """
    from nexus_pipeline.steps.smaller_task import make_smaller_task

    resource = default_resources(project)["store"]
    assert isinstance(resource, StoreResource)
    return {task: make_smaller_task(project, task, resource.store(), say) for task in tasks}


def stage_names(project: ProjectConfig) -> tuple[tuple[str, Method], ...]:
    """A name and the method of every stage the project file asks for; none without the section."""
    if project.optimization is None or project.optimization.target_size_mb is not None:
        return ()
    stages, methods = project.optimization.stages, project.optimization.methods()
    return tuple(
        (f"{at + 1}_{stage.value}", method)
        for at, (stage, method) in enumerate(zip(stages, methods, strict=True))
    )


def _stage_key(project: ProjectConfig, task: str, at: int) -> str:
    return f"{project.project_name}/optimized/{task}_{stage_names(project)[at][0]}"


def _stage(project: ProjectConfig, task: str, at: int) -> Making:
    name, method = project.project_name, stage_names(project)[at][1]

    def make(room: Workshop, _: Doing) -> Made:
        from nexus_pipeline.steps.smaller_task import stage_task

        stored = stage_task(project, task, room.store, at)
        return Made(stored, dict(stored.facts))

    before = f"{name}/optimized/{task}" if at == 0 else _stage_key(project, task, at - 1)
    return Making(
        key=_stage_key(project, task, at),
        tasks=frozenset({task}),
        description=f"The model after {method.kind}, as one .nxf file, and what it cost.",
        kinds=frozenset({"pytorch"}),
        upstream=(before, f"{name}/tokenized/{task}"),
        code=STAGE_CODE,
        config={
            **method.model_dump(mode="json"),
            **project.training.on_one_device.model_dump(mode="json"),
        },
        make=make,
        job=OPTIMIZATION,
    )


def _artifact(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.optimize_task import optimize_task

        raw = room.records.versions(f"{name}/raw/{d.table}" for d in project.datasets)
        lineage = {"project": name, "raw": raw, "trained": dict(doing.upstream)}
        stored = optimize_task(project, task, room.store, lineage)
        return Made(stored, {"rows": stored.rows})

    return Making(
        key=f"{name}/optimized/{task}",
        tasks=frozenset({task}),
        description="One .nxf file that predicts from raw tables alone, and a smaller INT8 one.",
        kinds=frozenset({"pytorch"}),
        upstream=(
            f"{name}/trained/{task}",
            f"{name}/tokenized/{task}",
            f"{name}/aligned/index_{task}",
        ),
        code=CODE,
        config={} if project.card is None else {"card": project.card.model_dump()},
        make=make,
    )


def optimized_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """Two facts per task, the second warns and does not block; one of every stage, which does."""
    checks = []
    for task in project.task_names:
        key = f"{project.project_name}/optimized/{task}"
        checks += [
            build_check(project, key, _same(task)),
            build_check(project, key, _small_loss(task), blocking=False),
        ]
        checks += [
            build_check(project, _stage_key(project, task, at), _affordable(task, at))
            for at in range(len(stage_names(project)))
        ]
    return checks


def _affordable(task: str, at: int) -> Callable[[Workshop], Outcome]:
    def the_stage_costs_no_more_than_allowed(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.smaller_task import read_stage

        stage = read_stage(room.project, task, at)
        allowed = "judged after it is trained on"
        if stage.largest_loss is not None:
            allowed = f"{stage.largest_loss:g}"
        figures = {"loss": stage.report.loss, "allowed": allowed}
        return Outcome(stage.passed, figures)

    return the_stage_costs_no_more_than_allowed


def _same(task: str) -> Callable[[Workshop], Outcome]:
    def the_artifact_predicts_from_raw_tables_like_the_trained_model(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.serve_task import artifact_difference

        found = artifact_difference(room.project, task, room.store)
        return Outcome(found.largest <= 1e-5, {"samples": found.samples, "largest": found.largest})

    return the_artifact_predicts_from_raw_tables_like_the_trained_model


def _small_loss(task: str) -> Callable[[Workshop], Outcome]:
    def int8_costs_at_most_half_a_percent(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.optimize_task import read_size_report

        score = read_size_report(room.project, task).score
        change = abs(score.int8 - score.float32) / max(abs(score.float32), 1e-12)
        return Outcome(change <= LARGEST_INT8_LOSS, {"relative_change": change})

    return int8_costs_at_most_half_a_percent
