"""Trained: the best weights of a task, its learning curve, and a checkpoint a kill cannot spoil."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nexus_model.align.samples import Split
from nexus_model.config import NexusConfig
from nexus_model.evaluate.metrics import measure, primary_metric
from nexus_model.train.config import TrainingConfig
from nexus_model.train.progress import EpochReport, Progress
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.also_task import also_scores
from nexus_pipeline.steps.attention_log import attention_log
from nexus_pipeline.steps.auto_batch import auto_batch_size
from nexus_pipeline.steps.model_plan import fresh_model, goal_of
from nexus_pipeline.steps.plan import origin_of
from nexus_pipeline.steps.pretrain_task import read_pretrained, start_from
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.tokenize_task import Splits, open_tensors_of, read_splits
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.batch import TaskTensors
    from nexus_model.tokenize.statistics import Tokenizer
    from nexus_model.train.devices import Ranks
    from nexus_model.train.loader import Goal
    from nexus_model.train.state import TrainState

THREADS = min(2, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
JUDGED, FINAL = "judged.safetensors", "weights.safetensors"
USUAL_BATCHES, LEAST_STEPS = (16, 32, 64, 128, 256), 24
DRAWN = {"epoch", "loss", "score", "best", "gradient_norm"}


def train_task(
    project: ProjectConfig, task: str, store: Store, fingerprint: str, progress: ProgressLog
) -> Stored:
    """Train, resuming from the checkpoint of the same fingerprint if a run was cut short.

    Several devices, or machines, are processes of their own.
    """
    from nexus_model.train.devices import alone
    from nexus_pipeline.steps.launch import WORDS
    from nexus_pipeline.steps.train_rank import train_on_ranks

    splits = read_splits(task, store)
    if project.training.devices > 1 or os.environ.get(WORDS):
        return train_on_ranks(project, task, splits, fingerprint, progress)
    stored = train_together(project, task, splits, fingerprint, progress, alone())
    assert stored is not None, "one process writes what it made"
    return stored


def train_together(
    project: ProjectConfig,
    task: str,
    splits: Splits,
    fingerprint: str,
    progress: ProgressLog,
    ranks: "Ranks",
) -> Stored | None:
    """Train as one of the ranks; only the first one writes, and knows what."""
    import torch

    from nexus_model.train.loop import fit, new_state, refit
    from nexus_model.train.state import save_state

    torch.set_num_threads(THREADS)
    recipe = read_recipe(project, task)
    tensors, tokenizer = open_tensors_of(project, task)
    train_B, validation_B = splits[Split.TRAIN], splits[Split.VALIDATION]
    config, metric = training_config(project, len(train_B)), primary_metric(recipe.task)
    goal = goal_of(recipe, tokenizer, tensors.also)
    model = beginning(project, task, progress).to(ranks.device)
    name = f"{fingerprint[:16]}.safetensors"
    checkpoint = project.stage_folder("trained", task, "checkpoint") / name
    if project.training.batch_size is None:
        known = checkpoint.with_name("batch_size.json")
        size = ranks.of_first(
            lambda: auto_batch_size(project, known, model, tensors, train_B, goal, config)
        )
        config = config.model_copy(update={"batch_size": int(size)})
    state = new_state(model, config, ranks)
    _resume(checkpoint, state, config, lambda told: progress.line(f"trained/{task}: {told}"))
    watch = progress.training(task, metric.name, config.epochs, len(train_B))
    look = attention_log(project, task, tensors, validation_B)

    def after_epoch(now: "TrainState") -> None:
        save_state(checkpoint, now, config)
        watch.epoch(now.progress)
        if ranks.is_first:
            look(now)

    fit(
        state, tensors, (train_B, validation_B), goal, config,
        score=lambda prediction_B, label_B: measure(metric, prediction_B, label_B),
        on_step=lambda step: watch.step(step.epoch, step.step, step.steps, step.loss),
        on_epoch=after_epoch,
    )  # fmt: skip
    chosen, also = state.progress, {}
    if ranks.is_first:
        also = _write_judged(project, task, model.to(ranks.device), tensors, goal, validation_B)
    if project.training.refit:
        every_B, epochs = splits.before_test, int(chosen.best_epoch or 0) + 1
        progress.line(f"trained/{task}: again on {len(every_B)} samples, {epochs} epochs")
        model = beginning(project, task, progress, FINAL).to(ranks.device)
        refit(new_state(model, config, ranks), tensors, every_B, goal, config, epochs, watch.again)
    if not ranks.is_first:
        return None
    stored = _write_model(project, task, model, chosen, config)
    _forget(checkpoint.parent)
    facts = {f"validation_{metric.name}": float(chosen.best_score or np.nan)} | also
    return stored.model_copy(update={"rows": len(train_B), "facts": facts | stored.facts})


def _resume(
    checkpoint: Path, state: "TrainState", config: TrainingConfig, say: Callable[[str], None]
) -> None:
    """Go on from a checkpoint, if one is there that is whole and of this training."""
    from nexus_model.train.state import load_state

    if load_state(checkpoint, state, config):
        say(f"resumed at epoch {state.progress.next_epoch}")
    elif checkpoint.is_file():
        say("started anew: the checkpoint is damaged or of another model")


def fit_silently(
    model: "NexusFormer",
    tensors: "TaskTensors",
    splits: tuple[np.ndarray, np.ndarray],
    goal: "Goal",
    config: TrainingConfig,
) -> "TrainState":
    """A training judged by the task's metric that nobody watches and no file keeps."""
    from nexus_model.train.loop import fit, new_state

    metric = primary_metric(goal.task)
    return fit(
        new_state(model, config),
        tensors,
        splits,
        goal,
        config,
        score=lambda prediction_B, label_B: measure(metric, prediction_B, label_B),
        on_step=lambda _: None,
        on_epoch=lambda _: None,
    )


def beginning(
    project: ProjectConfig, task: str, progress: ProgressLog, of_origin: str = JUDGED
) -> "NexusFormer":
    """The model before its first step.

    ``of_origin`` are the weights of the task it starts from, if any: those that have not seen
    validation samples, unless it may see them itself.
    """
    tensors, tokenizer = open_tensors_of(project, task)
    recipe, seed = read_recipe(project, task), project.training.seed
    model = fresh_model(project, recipe, tokenizer, seed, tensors.also)
    if project.pretraining is not None:
        start_from(model, read_pretrained(project, task), task, progress)
    if origin := origin_of(project, task):
        _carry(project, origin, of_origin, model, tokenizer)
        progress.line(f"trained/{task}: started from {origin}")
    return model


def _carry(
    project: ProjectConfig, origin: str, file: str, model: "NexusFormer", tokenizer: "Tokenizer"
) -> None:
    from safetensors.torch import load_file

    from nexus_model.train.carry import carry_weights

    learned = load_file(model_folder(project, origin) / file)
    carry_weights(model, tokenizer, learned, open_tensors_of(project, origin)[1])


def training_config(project: ProjectConfig, samples: int) -> TrainingConfig:
    """The training's configuration as the project file says; ``auto`` leaves the usual batch.

    Where the file is silent, few samples are given smaller batches and a shorter warm-up: with 256
    in a batch, a few hundred samples would end before the warm-up does.
    """
    chosen = project.training
    own = {"optimizer", "memory_budget_mb", "refit", "devices", "strategy"}
    given = chosen.model_dump(exclude=own, exclude_none=True)
    rule = chosen.optimizer.model_dump(exclude={"name"})
    if "batch_size" not in chosen.model_fields_set:
        given["batch_size"] = usual_batch(samples)
    config = TrainingConfig(**given, **rule, optimizer=chosen.optimizer.name)
    if "warmup_steps" in chosen.optimizer.model_fields_set:
        return config
    return with_usual_warmup(config, samples)


def with_usual_warmup(config: TrainingConfig, samples: int) -> TrainingConfig:
    """The same with a warm-up of at most a tenth of all steps."""
    steps = config.epochs * -(-samples // config.batch_size)
    return config.model_copy(update={"warmup_steps": min(config.warmup_steps, steps // 10)})


def usual_batch(samples: int) -> int:
    """The largest of 16, 32, ... 256 that still makes two dozen steps of an epoch.

    >>> [usual_batch(samples) for samples in (10, 400, 1000, 100_000)]
    [16, 16, 32, 256]
    """
    sizes = [size for size in USUAL_BATCHES if size * LEAST_STEPS <= samples]
    return sizes[-1] if sizes else USUAL_BATCHES[0]


def _forget(checkpoints: Path) -> None:
    """Remove the checkpoints, also those of trainings that were killed and never went on."""
    for suffix in ("*.safetensors", "*.partial"):
        for left in checkpoints.glob(suffix):
            left.unlink()


def _write_judged(
    project: ProjectConfig,
    task: str,
    model: "NexusFormer",
    tensors: "TaskTensors",
    goal: "Goal",
    validation_B: np.ndarray,
) -> dict[str, float]:
    """What validation figures are of: predictions, and the weights they come from.

    How well further labels are told is known here only: their heads are not kept.
    """
    from nexus_model.apply import predict_samples

    folder = model_folder(project, task)
    folder.mkdir(parents=True, exist_ok=True)
    found = predict_samples(model, tensors, validation_B, goal.task, goal.scale)
    np.save(folder / "validation.npy", found, allow_pickle=False)
    _write_weights(folder / JUDGED, model)
    return also_scores(model, tensors, validation_B)


def _write_weights(path: Path, model: "NexusFormer") -> None:
    from safetensors.torch import save_file

    from nexus_model.model import own_weights

    weights = {name: tensor.cpu().contiguous() for name, tensor in own_weights(model).items()}
    save_file(weights, path)


def judged_predictions(project: ProjectConfig, task: str) -> np.ndarray:
    """Predictions of the validation samples, by weights that have not seen them."""
    found: np.ndarray = np.load(model_folder(project, task) / "validation.npy", allow_pickle=False)
    return found


def _write_model(
    project: ProjectConfig,
    task: str,
    model: "NexusFormer",
    progress: "Progress",
    config: TrainingConfig,
) -> Stored:
    """Weights, configuration and learning curve, as one folder."""
    from nexus_model.model import own_weights

    folder = model_folder(project, task)
    _write_weights(folder / FINAL, model)
    (folder / "config.json").write_text(model.config.model_dump_json(indent=1), encoding="utf-8")
    curve = [report.model_dump() for report in progress.curve]
    (folder / "curve.json").write_text(json.dumps(curve, indent=1), encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=0,
        facts={
            "best_epoch": int(progress.best_epoch or 0),
            "batch_size": config.batch_size,
            "epochs": progress.next_epoch,
            "parameters": sum(weight.numel() for weight in own_weights(model).values()),
            "stopped_because": progress.stopped(config) or "unknown",
        },
    )


def read_epochs(project: ProjectConfig, task: str) -> tuple[EpochReport, ...]:
    """Epoch reports of the last training."""
    path = model_folder(project, task) / "curve.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    return tuple(EpochReport.model_validate(report) for report in found)


def read_curve(project: ProjectConfig, task: str) -> list[dict[str, float]]:
    """What is drawn of every epoch of the last training."""
    return [report.model_dump(include=DRAWN) for report in read_epochs(project, task)]


def model_folder(project: ProjectConfig, task: str) -> Path:
    """Where a task's weights are."""
    return project.stage_folder("trained", task, "model")


def score_again(project: ProjectConfig, task: str, store: Store) -> tuple[float, float]:
    """The best score the curve records, and the one the weights it is of give."""
    from safetensors.torch import load_file

    from nexus_model.apply import predict_samples
    from nexus_model.model import NexusFormer
    from nexus_model.train.devices import own_device

    recipe, folder = read_recipe(project, task), model_folder(project, task)
    tensors, tokenizer = open_tensors_of(project, task)
    config = NexusConfig.model_validate_json((folder / "config.json").read_text(encoding="utf-8"))
    model = NexusFormer(config, tokenizer, recipe.paths, recipe.task)
    model.load_state_dict(load_file(folder / JUDGED))
    model.to(own_device())
    chosen_B = read_splits(task, store)[Split.VALIDATION]
    found = predict_samples(model, tensors, chosen_B, recipe.task, tokenizer.label)
    metric = primary_metric(recipe.task)
    recorded = [report["score"] for report in read_curve(project, task) if report["best"]][-1]
    return recorded, measure(metric, found, tensors.label_B[chosen_B])
