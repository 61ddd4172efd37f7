"""Losses: functions of raw outputs and labels, a mean over the batch; no modules.

B samples, N samples times members of an ensemble, Y outputs: of all members one after another in
``raw_BY``, of one member in ``raw_NY``.
"""

from collections.abc import Sequence
from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from nexus_model.schema import TaskKind, TaskSpec
from nexus_model.tokenize.statistics import LabelScale


def task_loss(task: TaskSpec, raw_BY: Tensor, label_B: Tensor, scale: LabelScale) -> Tensor:
    """Absolute error (smooth near zero) or pinball loss of the scaled label; cross-entropy in nats.

    The mean over an ensemble's members of the loss of each, so that each learns by itself.
    """
    return sample_losses(task, raw_BY, label_B, scale).mean()


def known_loss(task: TaskSpec, raw_BY: Tensor, label_B: Tensor, scale: LabelScale) -> Tensor:
    """As ``task_loss`` where a label of NaN is unknown and adds nothing.

    The mean is over all samples, known or not, so that parts of a batch add up to the batch.

    >>> task = TaskSpec(name="t", kind=TaskKind.BINARY, entity_table="e")
    >>> label_B = torch.tensor([1.0, float("nan")])
    >>> round(known_loss(task, torch.zeros(2, 1), label_B, LabelScale()).item(), 4)
    0.3466
    """
    known_B = ~label_B.isnan()
    losses_N = sample_losses(task, raw_BY, label_B.nan_to_num(0.0), scale)
    known_N = known_B.repeat_interleave(len(losses_N) // max(1, len(known_B)))
    return losses_N.where(known_N, 0.0).mean()


def sample_losses(task: TaskSpec, raw_BY: Tensor, label_B: Tensor, scale: LabelScale) -> Tensor:
    """``[N]``: the loss of every member's answer, sample by sample."""
    raw_NY = raw_BY.reshape(-1, task.outputs)
    label_N = label_B.repeat_interleave(raw_BY.shape[1] // task.outputs)
    match task.kind:
        case TaskKind.REGRESSION:
            scaled_N = (label_N - scale.center) / scale.spread
            return F.smooth_l1_loss(raw_NY[:, 0], scaled_N, beta=0.2, reduction="none")
        case TaskKind.QUANTILE:
            scaled_N = (label_N - scale.center) / scale.spread
            return pinball_losses(raw_NY, scaled_N, task.quantiles).mean(1)
        case TaskKind.BINARY:
            return F.binary_cross_entropy_with_logits(raw_NY[:, 0], label_N, reduction="none")
        case TaskKind.MULTICLASS:
            return F.cross_entropy(raw_NY, label_N.long(), reduction="none")
        case _ as unreachable:
            assert_never(unreachable)


def pinball(found_BY: Tensor, label_B: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Mean of ``max(q e, (q - 1) e)`` with ``e = label - found`` (Koenker & Bassett 1978, eq. 1).

    >>> pinball(torch.tensor([[1.0]]), torch.tensor([3.0]), [0.9]).item()
    1.7999999523162842
    """
    return pinball_losses(found_BY, label_B, quantiles).mean()


def pinball_losses(found_BY: Tensor, label_B: Tensor, quantiles: Sequence[float]) -> Tensor:
    """``[B, Y]``: of every sample and quantile."""
    share_Y = torch.tensor(quantiles, dtype=found_BY.dtype, device=found_BY.device)
    error_BY = label_B[:, None] - found_BY
    return torch.maximum(share_Y * error_BY, (share_Y - 1) * error_BY)
