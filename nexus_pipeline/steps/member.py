"""One member of an ensemble: a training of the project's model that differs in its seed.

A training that was finished is read back, so a run that was cut short goes on where it stopped.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nexus_model.align.samples import Split
from nexus_model.schema import Record
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.records import fingerprint
from nexus_pipeline.steps.tokenize_task import Splits, open_tensors_of
from nexus_pipeline.steps.train_task import FINAL, THREADS, beginning, fit_silently, training_config

if TYPE_CHECKING:
    from nexus_model.align.recipe import Recipe
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.batch import TaskTensors
    from nexus_model.tokenize.statistics import Tokenizer


class Training(Record):
    """What one training cost and chose; ``judged`` says whether validation samples were kept back
    for it. A training that was not judged has no validation score.
    """

    seed: int
    epochs: int
    validation: float | None
    seconds: float
    cpu_seconds: float
    parameters: int


class Member(NamedTuple):
    """Predictions of all samples in order, NaN where none were made, and the training."""

    prediction: np.ndarray
    training: Training


class _Room(NamedTuple):
    """What every training of a task is done with."""

    project: ProjectConfig
    recipe: "Recipe"
    tensors: "TaskTensors"
    tokenizer: "Tokenizer"
    splits: Splits
    log: ProgressLog


def train_member(
    project: ProjectConfig,
    task: str,
    splits: Splits,
    folder: Path,
    upstream: Mapping[str, str],
    seed: int,
    epochs: int | None,
    log: ProgressLog,
) -> Member:
    """A member that chooses its epochs on validation samples, or trains for ``epochs`` of them.

    One that chooses predicts the validation samples before it has seen them; with
    ``training.refit`` it is then trained again on those as well, and predicts the test samples.
    """
    config = {
        "architecture": project.architecture.model_dump(mode="json"),
        "training": project.training.on_one_device.model_dump(mode="json"),
        "tables": {d.table: d.encoder_settings() for d in project.datasets},
        "epochs": epochs,
        "seed": seed,
    }
    at = folder / f"member_{fingerprint('member', config, upstream)[:16]}.npy"
    if not at.with_suffix(".json").is_file():
        changed = project.training.model_copy(update={"seed": seed})
        room = _Room(
            project.model_copy(update={"training": changed}),
            read_recipe(project, task),
            *open_tensors_of(project, task),
            splits,
            log,
        )
        member = _train(room, task, epochs)
        np.save(at, member.prediction, allow_pickle=False)
        at.with_suffix(".json").write_text(member.training.model_dump_json(), encoding="utf-8")
    told = json.loads(at.with_suffix(".json").read_text(encoding="utf-8"))
    return Member(np.load(at, allow_pickle=False), Training.model_validate(told))


def _train(room: _Room, task: str, epochs: int | None) -> Member:
    import torch

    torch.set_num_threads(THREADS)
    wall, cpu = time.perf_counter(), time.process_time()
    shape = (len(room.splits.split_B), *room.recipe.task.answer_shape)
    prediction = np.full(shape, np.nan)
    score = None
    if epochs is None:
        model, epochs, score = _judged(room, beginning(room.project, task, room.log))
        _predict(room, model, Split.VALIDATION, prediction)
        if room.project.training.refit:
            model = _refitted(room, task, epochs)
    else:
        model = _refitted(room, task, epochs)
    _predict(room, model, Split.TEST, prediction)
    training = Training(
        seed=room.project.training.seed,
        epochs=epochs,
        validation=score,
        seconds=time.perf_counter() - wall,
        cpu_seconds=time.process_time() - cpu,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    return Member(prediction, training)


def _judged(room: _Room, model: "NexusFormer") -> tuple["NexusFormer", int, float]:
    """The best weights by validation, after how many epochs they came, and their score."""
    from nexus_pipeline.steps.model_plan import goal_of

    splits = (room.splits[Split.TRAIN], room.splits[Split.VALIDATION])
    goal = goal_of(room.recipe, room.tokenizer, room.tensors.also)
    config = training_config(room.project, len(splits[0]))
    state = fit_silently(model, room.tensors, splits, goal, config)
    best = state.progress
    return state.model, int(best.best_epoch or 0) + 1, float(best.best_score or np.nan)


def _refitted(room: _Room, task: str, epochs: int) -> "NexusFormer":
    """Trained on all samples before the test."""
    from nexus_model.train.loop import new_state, refit
    from nexus_pipeline.steps.model_plan import goal_of

    config = training_config(room.project, len(room.splits[Split.TRAIN]))
    goal = goal_of(room.recipe, room.tokenizer, room.tensors.also)
    state = new_state(beginning(room.project, task, room.log, FINAL), config)
    return refit(
        state, room.tensors, room.splits.before_test, goal, config, epochs, lambda _: None
    ).model


def _predict(room: _Room, model: "NexusFormer", split: Split, into: np.ndarray) -> None:
    from nexus_model.apply import predict_samples

    chosen_B = room.splits[split]
    scale = room.tokenizer.label
    into[chosen_B] = predict_samples(model, room.tensors, chosen_B, room.recipe.task, scale)
