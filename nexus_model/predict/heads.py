"""Head: fused state and the sample's clock -> raw outputs; raw outputs -> predictions.

B samples, D width, F clock features, Y outputs.
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus_model.schema import TaskKind
from nexus_model.tokenize.statistics import LabelScale


class Head(nn.Module):
    """Two layers; the last starts small, so that the first loss is that of a constant."""

    def __init__(self, width: int, clock: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width + clock, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Near zero."""
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        hidden_BD = F.silu(self.hidden(torch.cat([self.norm(fused_BD), clock_BF], dim=1)))
        return self.out(self.dropout(hidden_BD))


def prediction(kind: TaskKind, raw_BY: Tensor, scale: LabelScale) -> Tensor:
    """Raw outputs in the units of the label ``[B]``, or probabilities ``[B, Y]`` of the classes."""
    match kind:
        case TaskKind.REGRESSION:
            return raw_BY[:, 0] * scale.spread + scale.center
        case TaskKind.BINARY:
            return raw_BY[:, 0].sigmoid()
        case TaskKind.MULTICLASS:
            return raw_BY.softmax(dim=1)
        case _ as unreachable:
            assert_never(unreachable)
