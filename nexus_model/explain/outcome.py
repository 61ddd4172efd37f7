"""One number per sample: the score that is explained, and the loss that importance is measured in.

B samples, Y outputs. A score adds up over causes better than a probability does: the logit of a
yes, the log odds of one class, the number itself.
"""

from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from nexus_model.model import NexusFormer
from nexus_model.predict.heads import prediction
from nexus_model.schema import TaskKind, TaskSpec
from nexus_model.tokenize.batch import RelBatch
from nexus_model.tokenize.move import device_of, moved
from nexus_model.tokenize.statistics import LabelScale

EDGE = 1e-6


class Asked:
    """A model asked for scores: what ``predict`` says, as one number per sample."""

    def __init__(self, model: NexusFormer, task: TaskSpec, scale: LabelScale) -> None:
        self.model, self.task, self.scale = model, task, scale

    def predictions(self, batch: RelBatch, cycles: int | None = None) -> Tensor:
        """As ``predict_samples`` gives them, with gradient where that is on."""
        raw_BY = self.model(moved(batch, device_of(self.model)), cycles)
        return prediction(self.task, raw_BY, self.scale)

    def scores(self, found: Tensor, class_B: Tensor | None = None) -> Tensor:
        """``[B]`` score of predictions; of several classes that of ``class_B``."""
        return score_of(self.task, found, class_B)


def score_of(task: TaskSpec, found: Tensor, class_B: Tensor | None = None) -> Tensor:
    """``[B]``: logit of the probability, log odds of a class, the number, the middle quantile.

    >>> task = TaskSpec(name="t", kind=TaskKind.BINARY, entity_table="e")
    >>> score_of(task, torch.tensor([0.5])).item()
    0.0
    """
    match task.kind:
        case TaskKind.REGRESSION:
            return found
        case TaskKind.QUANTILE:
            return found[:, task.middle]
        case TaskKind.BINARY:
            return torch.logit(found, eps=EDGE)
        case TaskKind.MULTICLASS:
            likeliest_B = found.argmax(dim=1) if class_B is None else class_B
            return torch.logit(found.gather(1, likeliest_B[:, None])[:, 0], eps=EDGE)
        case _ as unreachable:
            assert_never(unreachable)


def losses(task: TaskSpec, found: np.ndarray, label_B: np.ndarray) -> np.ndarray:
    """``[B]``: surprise in nats for classes, distance in label units for numbers.

    >>> task = TaskSpec(name="t", kind=TaskKind.REGRESSION, entity_table="e")
    >>> losses(task, np.array([1.0, 2.0]), np.array([1.0, 5.0])).tolist()
    [0.0, 3.0]
    """
    said = np.asarray(found, np.float64)
    match task.kind:
        case TaskKind.REGRESSION:
            return np.abs(said - label_B)
        case TaskKind.QUANTILE:
            share_Y, missed_BY = np.array(task.quantiles), label_B[:, None] - said
            return np.maximum(share_Y * missed_BY, (share_Y - 1) * missed_BY).mean(axis=1)
        case TaskKind.BINARY:
            return -np.log(np.clip(np.where(label_B == 1, said, 1 - said), EDGE, None))
        case TaskKind.MULTICLASS:
            chosen_B = said[np.arange(len(said)), label_B.astype(np.int64)]
            return -np.log(np.clip(chosen_B, EDGE, None))
        case _ as unreachable:
            assert_never(unreachable)


def unit_of(task: TaskSpec) -> str:
    """What the score is counted in.

    >>> unit_of(TaskSpec(name="t", kind=TaskKind.BINARY, entity_table="e"))
    'log odds'
    """
    return "units of the label" if task.kind.is_number else "log odds"
