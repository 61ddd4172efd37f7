"""The training loop: epochs, validation, early stopping. It knows no files and no metrics.

Every random number of an epoch follows from (seed, epoch), so a run that was killed and resumed at
an epoch's end gives the same weights as one that was not.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from nexus_model.apply import predict_samples
from nexus_model.model import NexusFormer
from nexus_model.predict.losses import task_loss
from nexus_model.schema import Record, TaskSpec, TrainingError
from nexus_model.tokenize.batch import RelBatch, TaskTensors, build_batch
from nexus_model.tokenize.statistics import LabelScale
from nexus_model.train.optimizer import build_optimizer
from nexus_model.train.schedule import warmup_cosine
from nexus_model.train.state import EpochReport, Progress, TrainingConfig, TrainState

Array = np.ndarray


class Goal(Record):
    """What to learn: the task, its label's scale, and whether a larger score is better."""

    task: TaskSpec
    scale: LabelScale
    higher_is_better: bool


class StepReport(Record):
    """One optimisation step, for progress displays."""

    epoch: int
    step: int
    steps: int
    loss: float


def new_state(model: NexusFormer, config: TrainingConfig) -> TrainState:
    """A fresh training of ``model``."""
    return TrainState(model, build_optimizer(model, config.lr, config.weight_decay))


def fit(
    state: TrainState,
    tensors: TaskTensors,
    splits: tuple[Array, Array],
    goal: Goal,
    config: TrainingConfig,
    score: Callable[[Array, Array], float],
    on_step: Callable[[StepReport], None],
    on_epoch: Callable[[TrainState], None],
) -> TrainState:
    """Train until the epochs or the patience run out, then restore the best weights.

    ``splits`` are sample numbers for training and for validation; ``score`` takes predictions and
    labels of the latter.

    Raises:
        TrainingError: a split is empty, or a loss is not finite.
    """
    train_B, validation_B = splits
    if len(train_B) == 0 or len(validation_B) == 0:
        raise TrainingError(
            f"task {goal.task.name}: needs training and validation samples, "
            f"got {len(train_B)} and {len(validation_B)}"
        )
    while state.progress.stopped(config) is None:
        loss, norm = _epoch(state, tensors, train_B, goal, config, on_step)
        found = score(
            predict_samples(state.model, tensors, validation_B, goal.task, goal.scale),
            tensors.label_B[validation_B],
        )
        _record(state, loss, norm, found, goal, len(train_B), config)
        on_epoch(state)
    state.restore_best()
    return state


def _epoch(
    state: TrainState,
    tensors: TaskTensors,
    train_B: Array,
    goal: Goal,
    config: TrainingConfig,
    on_step: Callable[[StepReport], None],
) -> tuple[float, float]:
    epoch = state.progress.next_epoch
    order_B = np.random.default_rng([config.seed, epoch]).permutation(train_B)
    starts = range(0, len(order_B), config.batch_size)
    total, largest = 0.0, 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed * 100_003 + epoch)
        state.model.train()
        for number, start in enumerate(starts):
            chosen_B = order_B[start : start + config.batch_size]
            batch = build_batch(tensors, chosen_B, state.model.config.parent_hops)
            _set_rate(state, config, epoch * len(starts) + number, len(starts))
            loss, norm = train_step(state, batch, goal, config)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"task {goal.task.name}: loss is {loss} at epoch {epoch} for samples "
                    f"{chosen_B[:5].tolist()} and {max(0, len(chosen_B) - 5)} more"
                )
            total, largest = total + loss * len(chosen_B), max(largest, norm)
            on_step(StepReport(epoch=epoch, step=number + 1, steps=len(starts), loss=loss))
    return total / len(order_B), largest


def train_step(
    state: TrainState, batch: RelBatch, goal: Goal, config: TrainingConfig
) -> tuple[float, float]:
    """One step down the gradient; the loss and the gradient's norm before clipping."""
    state.optimizer.zero_grad(set_to_none=True)
    loss = task_loss(goal.task.kind, state.model(batch), batch.label_B, goal.scale)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.gradient_clipping)
    state.optimizer.step()
    return float(loss.detach()), float(norm)


def _set_rate(state: TrainState, config: TrainingConfig, step: int, steps: int) -> None:
    factor = warmup_cosine(step, config.warmup_steps, steps * config.epochs)
    for group in state.optimizer.param_groups:
        group["lr"] = config.lr * factor


def _record(
    state: TrainState,
    loss: float,
    norm: float,
    score: float,
    goal: Goal,
    samples: int,
    config: TrainingConfig,
) -> None:
    before = state.progress
    sign = 1 if goal.higher_is_better else -1
    best = math.isfinite(score) and (
        before.best_score is None or sign * score > sign * before.best_score
    )
    if best:
        state.keep_best()
    report = EpochReport(
        epoch=before.next_epoch, loss=loss, score=score, best=best, gradient_norm=norm
    )
    state.progress = Progress(
        next_epoch=before.next_epoch + 1,
        step=before.step + math.ceil(samples / config.batch_size),
        best_score=score if best else before.best_score,
        best_epoch=before.next_epoch if best else before.best_epoch,
        curve=(*before.curve, report),
    )
