"""Trained: the best weights of a task, its learning curve, and a checkpoint a kill cannot spoil."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nexus_model.align.samples import Split
from nexus_model.config import NexusConfig
from nexus_model.encode.choose import (
    EncoderConfig,
    FTTransformerConfig,
    StandardConfig,
    TimeSeriesConfig,
)
from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ArchitectureConfig, DatasetConfig, ProjectConfig, TransformerType
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.train.state import TrainingConfig, TrainState

THREADS = min(2, os.cpu_count() or 1)


def encoder_config(dataset: DatasetConfig, architecture: ArchitectureConfig) -> EncoderConfig:
    """The encoder a dataset asks for."""
    blocks, heads = architecture.encoder_blocks, architecture.heads
    match dataset.transformer_type:
        case TransformerType.STANDARD:
            return StandardConfig(blocks=blocks)
        case TransformerType.FT_TRANSFORMER:
            return FTTransformerConfig(blocks=blocks, heads=heads)
        case TransformerType.TIMESERIES:
            return TimeSeriesConfig(blocks=blocks, heads=heads)


def model_config(project: ProjectConfig) -> NexusConfig:
    """The model's configuration as the project file says."""
    chosen = project.architecture
    return NexusConfig(
        width=chosen.global_embed_dim,
        heads=chosen.heads,
        cycles=chosen.refinement_iterations,
        summary_tokens=chosen.summary_tokens,
        dropout=chosen.dropout,
        encoders={d.table: encoder_config(d, chosen) for d in project.datasets},
    )


def train_task(
    project: ProjectConfig, task: str, store: Store, fingerprint: str, progress: ProgressLog
) -> Stored:
    """Train, resuming from the checkpoint of the same fingerprint if a run was cut short."""
    import torch

    from nexus_model.model import NexusFormer
    from nexus_model.train.loop import Goal, fit, new_state
    from nexus_model.train.state import load_state, save_state

    torch.set_num_threads(THREADS)
    recipe, splits = read_recipe(project, task), read_splits(task, store)
    tensors, tokenizer = open_tensors_of(project, task)
    config, metric = training_config(project), primary_metric(recipe.task.kind)
    goal = Goal(
        task=recipe.task,
        scale=tokenizer.label,
        higher_is_better=metric.direction is Direction.MAX,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = NexusFormer(model_config(project), tokenizer, recipe.paths, recipe.task)
    name = f"{fingerprint[:16]}.safetensors"
    checkpoint = project.stage_folder("trained", task, "checkpoint") / name
    state = new_state(model, config)
    if load_state(checkpoint, state, config):
        progress.line(f"trained/{task}: resumed at epoch {state.progress.next_epoch}")
    train_B, validation_B = splits[Split.TRAIN], splits[Split.VALIDATION]
    watch = progress.training(task, metric.name, config.epochs, len(train_B))

    def after_epoch(now: "TrainState") -> None:
        save_state(checkpoint, now, config)
        watch.epoch(now.progress)

    fit(
        state,
        tensors,
        (train_B, validation_B),
        goal,
        config,
        score=lambda prediction_B, label_B: measure(metric.name, prediction_B, label_B),
        on_step=lambda step: watch.step(step.epoch, step.step, step.steps, step.loss),
        on_epoch=after_epoch,
    )
    stored = _write_model(project, task, state, config)
    checkpoint.unlink()
    best = {f"validation_{metric.name}": float(state.progress.best_score or np.nan)}
    return stored.model_copy(update={"rows": len(train_B), "facts": {**best, **stored.facts}})


def training_config(project: ProjectConfig) -> "TrainingConfig":
    """The training's configuration as the project file says."""
    from nexus_model.train.state import TrainingConfig

    chosen = project.training
    return TrainingConfig(
        **chosen.model_dump(exclude={"optimizer"}), **chosen.optimizer.model_dump()
    )


def _write_model(
    project: ProjectConfig, task: str, state: "TrainState", config: "TrainingConfig"
) -> Stored:
    """Weights, configuration and learning curve, as one folder."""
    from safetensors.torch import save_file

    folder, model = model_folder(project, task), state.model
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "weights.safetensors")
    (folder / "config.json").write_text(model.config.model_dump_json(indent=1), encoding="utf-8")
    curve = [report.model_dump() for report in state.progress.curve]
    (folder / "curve.json").write_text(json.dumps(curve, indent=1), encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=0,
        facts={
            "best_epoch": int(state.progress.best_epoch or 0),
            "epochs": state.progress.next_epoch,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "stopped_because": state.progress.stopped(config) or "unknown",
        },
    )


def read_curve(project: ProjectConfig, task: str) -> list[dict[str, float]]:
    """Epoch reports of the last training."""
    path = model_folder(project, task) / "curve.json"
    curve: list[dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
    return curve


def model_folder(project: ProjectConfig, task: str) -> Path:
    """Where a task's weights are."""
    return project.stage_folder("trained", task, "model")


def score_again(project: ProjectConfig, task: str, store: Store) -> tuple[float, float]:
    """The best score the curve records, and the one the written weights give."""
    from safetensors.torch import load_file

    from nexus_model.apply import predict_samples
    from nexus_model.model import NexusFormer

    recipe, folder = read_recipe(project, task), model_folder(project, task)
    tensors, tokenizer = open_tensors_of(project, task)
    config = NexusConfig.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
    model = NexusFormer(config, tokenizer, recipe.paths, recipe.task)
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    chosen_B = read_splits(task, store)[Split.VALIDATION]
    found = predict_samples(model, tensors, chosen_B, recipe.task, tokenizer.label)
    metric = primary_metric(recipe.task.kind).name
    recorded = [report["score"] for report in read_curve(project, task) if report["best"]][-1]
    return recorded, measure(metric, found, tensors.label_B[chosen_B])
