"""Optimized: the ``.nxf`` artifact of every task, and its INT8 form."""

from collections.abc import Callable

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.project import ProjectConfig

CODE = (
    "nexus_model/artifact",
    "nexus_model/optimize",
    "nexus_model/serve",
    "nexus_pipeline/steps/optimize_task.py",
)
LARGEST_INT8_LOSS = 0.005


def optimized_makings(project: ProjectConfig) -> list[Making]:
    """The artifacts of every task."""
    return [_artifact(project, task) for task in project.task_names]


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
        config={},
        make=make,
    )


def optimized_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """Two facts per task; the second warns and does not block."""
    checks = []
    for task in project.task_names:
        key = f"{project.project_name}/optimized/{task}"
        checks += [
            build_check(project, key, _same(task)),
            build_check(project, key, _small_loss(task), blocking=False),
        ]
    return checks


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
