"""Both losses of a batch: what the task asks, and what experts, encoders and further tasks add.

B samples, Y outputs.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nexus_model.model import NexusFormer
from nexus_model.predict.losses import known_loss, task_loss
from nexus_model.schema import TrainingError
from nexus_model.tokenize.batch import RelBatch, TaskTensors
from nexus_model.tokenize.move import device_of, moved
from nexus_model.train.config import TrainingConfig
from nexus_model.train.loader import Goal
from nexus_model.train.observe import LoadCounts, auxiliary_loss, overhearing
from nexus_model.train.precision import computing


class Losses(NamedTuple):
    """The task's loss, and what experts, encoders and further tasks add to it."""

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
            raws = model.answers(batch) if goal.also else (model(batch),)
        raw_BY, *further = (
            raw_BY.to(torch.promote_types(raw_BY.dtype, torch.float32)) for raw_BY in raws
        )
        added = auxiliary_loss(heard, config)
    labels = batch.also if goal.also else ()
    for also, also_BY, label_B in zip(goal.also, further, labels, strict=True):
        added = added + also.weight * known_loss(also.task, also_BY, label_B, also.scale)
    if counts is not None:
        counts.add(heard.routings)
    return Losses(task_loss(goal.task, raw_BY, batch.label_B, goal.scale), added)


def check_answers(model: NexusFormer, tensors: TaskTensors, goal: Goal) -> None:
    """Whether model and samples have what the goal's further tasks need.

    Raises:
        TrainingError: there is no head, or no label, for one of them.
    """
    asked = tuple(also.task.name for also in goal.also)
    labelled = tuple(own.goal.task.name for own in tensors.also)
    if asked and asked != model.also_names:
        raise TrainingError(f"further tasks are {asked}, the model answers {model.also_names}")
    if asked and asked != labelled:
        raise TrainingError(f"further tasks are {asked}, the samples have labels of {labelled}")


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
