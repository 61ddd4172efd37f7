"""Additive answers: each table says its own part of the raw output, and the parts are summed.

B samples, Q state tokens of all paths, D width, F clock features, Y outputs. Nothing here mixes two
tables: what the answer knows of two tables together came through their exchange, or through rows
that read the rows they reference. After Hastie & Tibshirani 1986 (Generalized Additive Models).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus_model.layers.dropout import Dropout
from nexus_model.predict.heads import rising
from nexus_model.schema import TaskKind, TaskSpec


class AdditiveFusion(nn.Module):
    """``state_BQD -> fused_BD``: the sum of what each token becomes by itself."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.weight_QDF = nn.Parameter(torch.empty(tokens, width, width))
        self.bias_QF = nn.Parameter(torch.zeros(tokens, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit scale of the sum, so that the answer's first scale does not follow the tables."""
        tokens, width, _ = self.weight_QDF.shape
        nn.init.normal_(self.weight_QDF, std=(width * tokens) ** -0.5)

    def parts(self, state_BQD: Tensor, keep_BQ: Tensor) -> Tensor:
        """``[B, Q, D]``: what each token adds; zero for a missing table."""
        mixed_BQF = torch.einsum("bqd,qdf->bqf", self.norm(state_BQD), self.weight_QDF)
        return F.silu(mixed_BQF + self.bias_QF) * keep_BQ[..., None]

    def forward(self, state_BQD: Tensor, keep_BQ: Tensor) -> Tensor:
        return self.parts(state_BQD, keep_BQ).sum(1)


class LinearHead(nn.Module):
    """One line over fused state and clock, so that sums stay sums."""

    def __init__(self, width: int, clock: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width + clock, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit scale, as of the other heads."""
        nn.init.normal_(self.out.weight, std=self.out.in_features**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        return self.out(torch.cat([self.dropout(fused_BD), clock_BF], dim=1))


class RisingLinearHead(LinearHead):
    """Outputs rise, so quantiles never cross; only the first of them is additive."""

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        return rising(super().forward(fused_BD, clock_BF))


def build_additive_head(width: int, clock: int, task: TaskSpec, dropout: float) -> LinearHead:
    """The linear head of a task."""
    kind = RisingLinearHead if task.kind is TaskKind.QUANTILE else LinearHead
    return kind(width, clock, task.outputs, dropout)
