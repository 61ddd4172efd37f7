"""Pretrained: a task's row encoders after telling hidden cells from the rest; no label is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_model.align.samples import Split
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig, pretraining_of
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.model_plan import fresh_model
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from torch import Tensor

    from nexus_model.model import NexusFormer

WEIGHTS = "weights.safetensors"


def pretrained_folder(project: ProjectConfig, task: str) -> Path:
    """Where a task's pretrained weights are."""
    return project.stage_folder("trained", task, "pretrained")


def pretrain_task(
    project: ProjectConfig, task: str, store: Store, progress: ProgressLog
) -> tuple[Stored, list[float]]:
    """Write the weights and the loss of every epoch."""
    from safetensors.torch import save_file

    weights, losses = pretrained_weights(project, task, store, progress)
    folder = pretrained_folder(project, task)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / "curve.json").write_text(json.dumps(losses), encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=len(read_splits(task, store)[Split.TRAIN]),
        facts={
            "first_loss": losses[0],
            "last_loss": losses[-1],
            "parameters": sum(tensor.numel() for tensor in weights.values()),
        },
    ), losses


def pretrained_weights(
    project: ProjectConfig, task: str, store: Store, progress: ProgressLog
) -> tuple[dict[str, "Tensor"], list[float]]:
    """Weights of the row encoders after pretraining on what training samples see; the losses."""
    import torch

    from nexus_model.train.masked_cells import PretrainingConfig, database_weights, pretrain
    from nexus_pipeline.steps.train_task import THREADS, training_config

    torch.set_num_threads(THREADS)
    asked, training = pretraining_of(project), project.training
    train_B = read_splits(task, store)[Split.TRAIN]
    size = training_config(project, len(train_B)).batch_size
    steps = asked.epochs * -(-len(train_B) // size)
    config = PretrainingConfig(
        batch_size=size,
        epochs=asked.epochs,
        hidden_share=asked.hidden_share,
        lr=asked.lr,
        warmup_steps=min(50, steps // 10),
        seed=training.seed,
    )
    recipe, tensors = read_recipe(project, task), open_tensors_of(project, task)
    model = fresh_model(project, recipe, tensors[1], config.seed)
    _, report = pretrain(
        model,
        tensors[1],
        tensors[0],
        train_B,
        config,
        on_epoch=lambda epoch, loss: progress.line(
            f"trained/pretrained_{task}: epoch {epoch + 1}/{config.epochs}, loss {loss:.4f}"
        ),
    )
    return database_weights(model), list(report.loss)


def start_from(
    model: "NexusFormer", weights: Mapping[str, "Tensor"], task: str, progress: ProgressLog
) -> None:
    """Copy pretrained weights into a fresh model and say how many fitted."""
    from nexus_model.train.masked_cells import load_pretrained

    matched = load_pretrained(model, weights)
    progress.line(f"trained/{task}: started from {len(matched)} of {len(weights)} pretrained parts")


def read_pretrained(project: ProjectConfig, task: str) -> dict[str, "Tensor"]:
    """The weights that were written last."""
    from safetensors.torch import load_file

    found: dict[str, Tensor] = load_file(pretrained_folder(project, task) / WEIGHTS)
    return found
