"""The training loop: epochs, validation, early stopping. It knows no files and no metrics.

Every random number of an epoch follows from (seed, epoch), so a run that was killed and resumed at
an epoch's end gives the same weights as one that was not. Several ranks run the same loop, each on
its share of every batch; what they draw at random differs, all else is as of one process.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from nexus_model.model import NexusFormer
from nexus_model.schema import Record, TrainingError
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.train.config import TrainingConfig
from nexus_model.train.devices import Ranks
from nexus_model.train.engine import build_engine
from nexus_model.train.loader import Goal, NexusLoader, Share
from nexus_model.train.losses import check_answers
from nexus_model.train.observe import LoadCounts, Refined, load_variation, watching_refinement
from nexus_model.train.optimizer import build_optimizer, set_rate
from nexus_model.train.schedule import rate_factor
from nexus_model.train.state import EpochReport, Progress, TrainState
from nexus_model.train.step import train_step
from nexus_model.train.validation import predict_shares

__all__ = ["Goal", "StepReport", "fit", "fit_loader", "new_state", "refit", "train_step"]

Array = np.ndarray
OTHER_RANK = 2**40


class StepReport(Record):
    """One optimisation step, for progress displays."""

    epoch: int
    step: int
    steps: int
    loss: float


class _Epoch(NamedTuple):
    """What the training half of an epoch gives."""

    loss: float
    auxiliary: float
    norm: float
    lr: float
    counts: LoadCounts


def new_state(model: NexusFormer, config: TrainingConfig, ranks: Ranks | None = None) -> TrainState:
    """A fresh training of ``model``, by this process alone or as one of several ranks."""
    engine = build_engine(model, ranks or Ranks())
    return TrainState(model, build_optimizer(engine.trained, config), engine)


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
        TrainingError: a split is empty, a loss is not finite, or a further task has no head or no
            label.
    """
    train_B, validation_B = splits
    if len(train_B) == 0 or len(validation_B) == 0:
        raise TrainingError(
            f"task {goal.task.name}: needs training and validation samples, "
            f"got {len(train_B)} and {len(validation_B)}"
        )
    loader = _loader(state, tensors, train_B, goal, config)

    def validate(model: NexusFormer) -> float:
        found = predict_shares(model, tensors, validation_B, goal, state.engine.ranks)
        return score(found, tensors.label_B[validation_B])

    return fit_loader(state, loader, validate, config, on_step, on_epoch)


def fit_loader(
    state: TrainState,
    loader: NexusLoader,
    validate: Callable[[NexusFormer], float],
    config: TrainingConfig,
    on_step: Callable[[StepReport], None],
    on_epoch: Callable[[TrainState], None],
) -> TrainState:
    """As ``fit``, with the loader's batches and any score of the model.

    Raises:
        TrainingError: there is no sample, or a loss is not finite.
    """
    if not len(loader):
        raise TrainingError(f"task {loader.goal.task.name}: needs training samples, got none")
    while state.progress.stopped(config) is None:
        trained = _epoch(state, loader, config, on_step)
        with state.answering(), watching_refinement(state.model) as refined:
            found = validate(state.model)
            # Ranks of unlike machines may differ in the last digit, and must not part there.
            score = state.engine.ranks.gathered(found)[0]
            _record(state, trained, score, refined, loader, config)
        on_epoch(state)
    state.restore_best()
    return state


def refit(
    state: TrainState,
    tensors: TaskTensors,
    chosen_B: Array,
    goal: Goal,
    config: TrainingConfig,
    epochs: int,
    on_step: Callable[[StepReport], None],
) -> TrainState:
    """Train for a number of epochs that was chosen before; nothing is judged, so no sample is kept
    back. Learning rates are those of the same epochs of ``config``.

    Raises:
        TrainingError: there is no sample, or a loss is not finite.
    """
    if len(chosen_B) == 0:
        raise TrainingError(f"task {goal.task.name}: needs training samples, got none")
    loader = _loader(state, tensors, chosen_B, goal, config)
    for epoch in range(epochs):
        _epoch(state, loader, config, on_step)
        step = state.progress.step + _steps(loader, config)
        state.progress = Progress(next_epoch=epoch + 1, step=step)
    with state.answering():
        state.keep_best()
    state.restore_best()
    return state


def _loader(
    state: TrainState, tensors: TaskTensors, chosen_B: Array, goal: Goal, config: TrainingConfig
) -> NexusLoader:
    check_answers(state.model, tensors, goal)
    return NexusLoader(
        tensors, chosen_B, config.batch_size, shuffle=config.batches,
        goal=goal, model=state.model.config, seed=config.seed,
    )  # fmt: skip


def _epoch(
    state: TrainState,
    loader: NexusLoader,
    config: TrainingConfig,
    on_step: Callable[[StepReport], None],
) -> _Epoch:
    epoch, steps, goal = state.progress.next_epoch, _steps(loader, config), loader.goal
    better = [report.best for report in state.progress.curve]
    total, added, largest, lr, counts = 0.0, 0.0, 0.0, 0.0, LoadCounts()
    ranks = state.engine.ranks
    with torch.random.fork_rng([ranks.device] if ranks.device.type == "cuda" else []):
        torch.manual_seed(config.seed * 100_003 + epoch + ranks.rank * OTHER_RANK)
        state.engine.trained.train()
        for number, shares in enumerate(_grouped(loader, epoch, config.accumulate, ranks)):
            chosen_B = np.concatenate([share.whole_B for share in shares])
            weights = [share.weight * len(share.whole_B) / len(chosen_B) for share in shares]
            parts = [share.batch for share in shares]
            step = epoch * steps + number
            lr = config.peak_lr * rate_factor(config, step, steps * config.epochs, better)
            set_rate(state.optimizer, lr)
            loss, auxiliary, norm = train_step(state, parts, goal, config, counts, weights)
            if not math.isfinite(loss + auxiliary):
                raise TrainingError(
                    f"task {goal.task.name}: loss is {loss + auxiliary} at epoch {epoch} for "
                    f"samples {chosen_B[:5].tolist()} and {max(0, len(chosen_B) - 5)} more"
                )
            if config.ema_decay is not None:
                state.average(config.ema_decay, step)
            total, added = total + loss * len(chosen_B), added + auxiliary * len(chosen_B)
            largest = max(largest, norm)
            on_step(StepReport(epoch=epoch, step=number + 1, steps=steps, loss=loss))
    samples = len(loader.chosen_B)
    counts = counts.of_all(state.model, ranks)
    return _Epoch(total / samples, added / samples, largest, lr, counts)


def _steps(loader: NexusLoader, config: TrainingConfig) -> int:
    return -(-len(loader) // config.accumulate)


def _grouped(
    loader: NexusLoader, epoch: int, accumulate: int, ranks: Ranks
) -> Iterator[list[Share]]:
    """A rank's shares of the batches of one step after another."""
    shares: list[Share] = []
    for share in loader.shares(epoch, ranks):
        shares.append(share)
        if len(shares) == accumulate:
            yield shares
            shares = []
    if shares:
        yield shares


def _record(
    state: TrainState,
    trained: _Epoch,
    score: float,
    refined: Refined,
    loader: NexusLoader,
    config: TrainingConfig,
) -> None:
    before = state.progress
    sign = 1 if loader.goal.higher_is_better else -1
    best = math.isfinite(score) and (
        before.best_score is None or sign * score > sign * before.best_score
    )
    if best:
        state.keep_best()
    load = trained.counts.shares()
    report = EpochReport(
        epoch=before.next_epoch,
        loss=trained.loss,
        score=score,
        best=best,
        gradient_norm=trained.norm,
        auxiliary=trained.auxiliary,
        lr=trained.lr,
        expert_load=load,
        load_variation=load_variation(load),
        cycles=refined.cycles(state.engine.ranks),
        refinement_change=refined.change(state.engine.ranks),
    )
    state.progress = Progress(
        next_epoch=before.next_epoch + 1,
        step=before.step + _steps(loader, config),
        best_score=score if best else before.best_score,
        best_epoch=before.next_epoch if best else before.best_epoch,
        curve=(*before.curve, report),
    )
