"""One step: batches -> gradients of one loss over all ranks -> weights moved."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch

from nexus_model.tokenize.batch import RelBatch
from nexus_model.train.config import TrainingConfig
from nexus_model.train.engine import Engine
from nexus_model.train.loader import Goal
from nexus_model.train.losses import Losses, batch_losses
from nexus_model.train.observe import LoadCounts
from nexus_model.train.sharding import whole
from nexus_model.train.state import TrainState

__all__ = ["Losses", "StepResult", "accumulate_gradients", "batch_losses", "train_step"]


class StepResult(NamedTuple):
    """Mean loss of the task, mean of what was added, and the gradient's norm before clipping.

    What is added comes from experts, encoders and further tasks.
    """

    loss: float
    auxiliary: float
    norm: float


def accumulate_gradients(
    engine: Engine,
    parts: Sequence[RelBatch],
    goal: Goal,
    config: TrainingConfig,
    counts: LoadCounts | None = None,
    weights: Sequence[float] | None = None,
) -> tuple[float, float]:
    """Add the gradient of the mean loss over the samples of all parts; both mean losses.

    ``weights`` are those of this rank's parts in the mean over all ranks; by default a part counts
    by its samples. A part of weight 0 is there to keep step with the other ranks.
    """
    samples, ranks = sum(part.samples for part in parts), engine.ranks
    weights = weights or [part.samples / samples for part in parts]
    loss = auxiliary = 0.0
    for number, (part, weight) in enumerate(zip(parts, weights, strict=True), start=1):
        with nullcontext() if number == len(parts) else engine.unsynced():
            found = engine.losses(part, goal, config, counts if weight else None)
            # Engines give the mean over ranks; what is wanted is their sum.
            ((found.task + found.auxiliary) * (weight * ranks.world_size)).backward()
        loss += weight * float(found.task.detach())
        auxiliary += weight * float(torch.as_tensor(found.auxiliary).detach())
    loss, auxiliary = ranks.total(loss, auxiliary)
    return loss, auxiliary


def train_step(
    state: TrainState,
    parts: Sequence[RelBatch],
    goal: Goal,
    config: TrainingConfig,
    counts: LoadCounts | None = None,
    weights: Sequence[float] | None = None,
) -> StepResult:
    """One step down the gradient of the mean loss over the samples of all parts of all ranks."""
    state.optimizer.zero_grad(set_to_none=True)
    loss, auxiliary = accumulate_gradients(state.engine, parts, goal, config, counts, weights)
    norm = torch.nn.utils.clip_grad_norm_(
        state.engine.trained.parameters(), config.gradient_clipping
    )
    state.optimizer.step()
    return StepResult(loss, auxiliary, float(whole(norm)))
