"""Both losses of a batch: what the task asks, and what experts and encoders add."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nexus_model.model import NexusFormer
from nexus_model.predict.losses import task_loss
from nexus_model.tokenize.batch import RelBatch
from nexus_model.tokenize.move import device_of, moved
from nexus_model.train.config import TrainingConfig
from nexus_model.train.loader import Goal
from nexus_model.train.observe import LoadCounts, auxiliary_loss, overhearing
from nexus_model.train.precision import computing


class Losses(NamedTuple):
    """The task's loss, and what experts and encoders add to it."""

    task: Tensor
    auxiliary: Tensor | float


def batch_losses(
    model: NexusFormer,
    batch: RelBatch,
    goal: Goal,
    config: TrainingConfig,
    counts: LoadCounts | None = None,
) -> Losses:
    """Both losses of a batch; ``counts`` learns what routers decided."""
    device = device_of(model)
    batch = moved(batch, device)
    with overhearing(model) as heard:
        with computing(device, config.precision):
            raw_BY = model(batch)
        raw_BY = raw_BY.to(torch.promote_types(raw_BY.dtype, torch.float32))
        added = auxiliary_loss(heard, config)
    if counts is not None:
        counts.add(heard.routings)
    return Losses(task_loss(goal.task, raw_BY, batch.label_B, goal.scale), added)


class LossModule(nn.Module):
    """A model and its losses as one module, so that whoever wraps it sees every output there is."""

    def __init__(self, model: NexusFormer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        batch: RelBatch,
        goal: Goal,
        config: TrainingConfig,
        counts: LoadCounts | None = None,
    ) -> Losses:
        return batch_losses(self.model, batch, goal, config, counts)
