"""Trained: one NexusFormer per task."""

from collections.abc import Callable
from typing import assert_never

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.shown import sparkline
from nexus_pipeline.project import ProjectConfig, encoder_files, pretraining_of
from nexus_pipeline.steps.plan import origin_of, wanted_by
from nexus_pipeline.steps.stored import Stored

CODE = tuple(
    f"nexus_model/{part}"
    for part in (
        "layers", "encode", "exchange", "predict", "train",
        "model.py", "config.py", "apply.py", "tokenize/also.py", "tokenize/batch.py",
    )
) + tuple(
    f"nexus_pipeline/steps/{name}.py" for name in ("train_task", "auto_batch", "also_task")
)  # fmt: skip


def trained_makings(project: ProjectConfig) -> list[Making]:
    """The model of every task, and before it its pretrained encoders if the project asks."""
    makings = [_model(project, task) for task in project.task_names]
    if project.pretraining is None:
        return makings
    return [_pretrained(project, task) for task in project.task_names] + makings


def trained_before(project: ProjectConfig, task: str) -> tuple[str, ...]:
    """Keys of what a training of the task starts from: pretrained encoders, another's model."""
    name, origin = project.project_name, origin_of(project, task)
    found = (f"pretrained_{task}" if project.pretraining else None, origin)
    return tuple(f"{name}/trained/{part}" for part in found if part)


def _pretrained(project: ProjectConfig, task: str) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.pretrain_task import pretrain_task

        stored, losses = pretrain_task(project, task, room.store, room.progress)
        for epoch, loss in enumerate(losses):
            doing.run.log_metrics({"loss": loss}, step=epoch)
        return Made(stored, {"rows": stored.rows, "loss_curve": sparkline(losses, "loss")})

    return Making(
        key=f"{name}/trained/pretrained_{task}",
        tasks=wanted_by(project, task),
        description="Row encoders that tell hidden cells from the rest; no label was read.",
        kinds=frozenset({"pytorch"}),
        upstream=(
            f"{name}/tokenized/{task}",
            f"{name}/aligned/index_{task}",
            f"{name}/aligned/samples_{task}",
        ),
        code=(*CODE, "nexus_pipeline/steps/pretrain_task.py"),
        config={
            "pretraining": pretraining_of(project).model_dump(mode="json"),
            "architecture": project.architecture.model_dump(mode="json"),
            "tables": {d.table: d.encoder_settings() for d in project.datasets},
            "encoder_modules": encoder_files(project),
            "seed": project.training.seed,
        },
        make=make,
    )


def _trainer(project: ProjectConfig) -> Callable[..., Stored]:
    """Where the project's models are trained: in this process, or on a worker of a cluster."""
    match project.engines.training:
        case "local":
            from nexus_pipeline.steps.train_task import train_task

            return train_task
        case "ray":
            from nexus_pipeline.scale.ray_training import train_task_on_ray

            return train_task_on_ray
        case _ as unreachable:
            assert_never(unreachable)


def _model(project: ProjectConfig, task: str) -> Making:
    name, logs = project.project_name, project.mlops

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.train_task import read_curve

        stored = _trainer(project)(project, task, room.store, doing.fingerprint, room.progress)
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
        tasks=wanted_by(project, task),
        description="A NexusFormer: best weights by validation, with its learning curve.",
        kinds=frozenset({"pytorch"}),
        upstream=(
            f"{name}/tokenized/{task}",
            f"{name}/aligned/index_{task}",
            f"{name}/aligned/samples_{task}",
            *trained_before(project, task),
        ),
        code=CODE,
        config={
            "architecture": project.architecture.model_dump(mode="json"),
            # A run on other devices is not another model, and goes on from the same checkpoint.
            "training": project.training.on_one_device.model_dump(mode="json"),
            "tables": {d.table: d.encoder_settings() for d in project.datasets},
            "encoder_modules": encoder_files(project),
            # Whoever begins to log has to train once more; for others nothing is different.
            **({"attention_every": logs.attention_every} if logs.log_attention_patterns else {}),
        },
        make=make,
    )


def trained_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """One fact per task."""

    def fact(task: str) -> dg.AssetChecksDefinition:
        def best_weights_reproduce_their_score(room: Workshop) -> Outcome:
            import torch

            from nexus_pipeline.steps.train_task import score_again

            recorded, found = score_again(room.project, task, room.store)
            # CUDA adds in any order, and two samples that were alike may change places.
            allowed = 1e-3 if torch.cuda.is_available() else 1e-6
            return Outcome(
                abs(recorded - found) <= allowed, {"recorded": recorded, "reproduced": found}
            )

        key = f"{project.project_name}/trained/{task}"
        return build_check(project, key, best_weights_reproduce_their_score)

    return [fact(task) for task in project.task_names]
