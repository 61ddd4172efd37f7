"""Losses: functions of raw outputs and labels, one mean over the batch; no modules.

B samples, Y outputs.
"""

from typing import assert_never

import torch.nn.functional as F
from torch import Tensor

from nexus_model.schema import TaskKind
from nexus_model.tokenize.statistics import LabelScale


def task_loss(kind: TaskKind, raw_BY: Tensor, label_B: Tensor, scale: LabelScale) -> Tensor:
    """Absolute error (smooth near zero) of the scaled label, or cross-entropy in nats."""
    match kind:
        case TaskKind.REGRESSION:
            scaled_B = (label_B - scale.center) / scale.spread
            return F.smooth_l1_loss(raw_BY[:, 0], scaled_B, beta=0.2)
        case TaskKind.BINARY:
            return F.binary_cross_entropy_with_logits(raw_BY[:, 0], label_B)
        case TaskKind.MULTICLASS:
            return F.cross_entropy(raw_BY, label_B.long())
        case _ as unreachable:
            assert_never(unreachable)
