"""Trained: one NexusFormer per task."""

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.shown import sparkline
from nexus_pipeline.project import ProjectConfig

CODE = tuple(
    f"nexus_model/{part}"
    for part in (
        "layers", "encode", "exchange", "predict", "train",
        "model.py", "config.py", "apply.py", "tokenize/batch.py",
    )
) + ("nexus_pipeline/steps/train_task.py",)  # fmt: skip


def trained_makings(project: ProjectConfig) -> list[Making]:
    """The model of every task."""
    return [_model(project, task) for task in project.task_names]


def _model(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.train_task import read_curve, train_task

        stored = train_task(project, task, room.store, doing.fingerprint, room.progress)
        curve = read_curve(project, task)
        for report in curve:
            figures = {"loss": report["loss"], "validation_score": report["score"]}
            doing.run.log_metrics(figures, step=int(report["epoch"]))
        lines = {
            "loss_curve": sparkline([report["loss"] for report in curve], "loss"),
            "score_curve": sparkline([report["score"] for report in curve], "validation score"),
        }
        return Made(stored, {"rows": stored.rows, **lines})

    return Making(
        key=f"{name}/trained/{task}",
        description="A NexusFormer: best weights by validation, with its learning curve.",
        kinds=frozenset({"pytorch"}),
        upstream=(
            f"{name}/tokenized/{task}",
            f"{name}/aligned/index_{task}",
            f"{name}/aligned/samples_{task}",
        ),
        code=CODE,
        config={
            "architecture": project.architecture.model_dump(mode="json"),
            "training": project.training.model_dump(mode="json"),
            "encoders": {d.table: d.transformer_type.value for d in project.datasets},
        },
        make=make,
    )


def trained_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """One fact per task."""

    def fact(task: str) -> dg.AssetChecksDefinition:
        def best_weights_reproduce_their_score(room: Workshop) -> Outcome:
            from nexus_pipeline.steps.train_task import score_again

            recorded, found = score_again(room.project, task, room.store)
            return Outcome(
                abs(recorded - found) <= 1e-6, {"recorded": recorded, "reproduced": found}
            )

        key = f"{project.project_name}/trained/{task}"
        return build_check(project, key, best_weights_reproduce_their_score)

    return [fact(task) for task in project.task_names]
