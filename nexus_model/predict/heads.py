"""Head: fused state and the sample's clock -> raw outputs; raw outputs -> predictions.

B samples, D width, E members of an ensemble, F clock features, Y outputs: of all members one after
another in ``raw_BY``. Members as in Gorishniy et al. 2025 (TabM), section 3.3.
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus_model.layers.batch_ensemble import BatchEnsemble, MemberLinear
from nexus_model.layers.dropout import Dropout
from nexus_model.schema import TaskKind, TaskSpec
from nexus_model.tokenize.statistics import LabelScale


class Head(nn.Module):
    """Two layers; the last starts at its usual size, not near zero.

    Near zero, what reaches the encoders is noise until features happen to be of use, and features
    are of no use until the encoders learned: a plateau that short trainings never leave
    (docs/decisions/0010).
    """

    def __init__(self, width: int, clock: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width + clock, width)
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit scale."""
        nn.init.normal_(self.out.weight, std=self.out.in_features**-0.5)
        nn.init.zeros_(self.out.bias)

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        hidden_BD = F.silu(self.hidden(torch.cat([self.norm(fused_BD), clock_BF], dim=1)))
        return self.out(self.dropout(hidden_BD))


class QuantileHead(Head):
    """Rising outputs: each is the one before plus a positive step, so quantiles never cross."""

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        return rising(super().forward(fused_BD, clock_BF))


class EnsembleHead(nn.Module):
    """Members share the hidden layer's matrix; each scales its input and has its own last layer.

    >>> EnsembleHead(4, 8, 0, 3, 0.0)(torch.zeros(2, 8), torch.zeros(2, 0)).shape
    torch.Size([2, 12])
    """

    def __init__(self, members: int, width: int, clock: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = BatchEnsemble(members, width + clock, width, start="signs")
        self.dropout = Dropout(dropout)
        self.out = MemberLinear(members, width, outputs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit scale, each member on its own."""
        nn.init.normal_(self.out.weight_EFY, std=self.out.weight_EFY.shape[1] ** -0.5)
        nn.init.zeros_(self.out.bias_EY)

    def members(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        """``[B, E, Y]``: what each member says."""
        asked_BD = torch.cat([self.norm(fused_BD), clock_BF], dim=1)
        return self.out(self.dropout(F.silu(self.hidden(asked_BD[:, None]))))

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        return self.members(fused_BD, clock_BF).flatten(1)


class QuantileEnsembleHead(EnsembleHead):
    """Each member's outputs rise, and so does their mean."""

    def forward(self, fused_BD: Tensor, clock_BF: Tensor) -> Tensor:
        return rising(self.members(fused_BD, clock_BF)).flatten(1)


def rising(raw: Tensor) -> Tensor:
    """Along the last dimension: the first as it is, then sums of positive steps.

    >>> rising(torch.tensor([[1.0, -100.0, 2.0]])).tolist()
    [[1.0, 1.0, 3.1269280910491943]]
    """
    return torch.cat([raw[..., :1], F.softplus(raw[..., 1:])], dim=-1).cumsum(dim=-1)


def build_head(
    width: int, clock: int, task: TaskSpec, dropout: float, members: int = 1
) -> Head | EnsembleHead:
    """The head of a task, or ``members`` heads that share most of their weights."""
    quantiles = task.kind is TaskKind.QUANTILE
    if members == 1:
        one = QuantileHead if quantiles else Head
        return one(width, clock, task.outputs, dropout)
    many = QuantileEnsembleHead if quantiles else EnsembleHead
    return many(members, width, clock, task.outputs, dropout)


def prediction(task: TaskSpec, raw_BY: Tensor, scale: LabelScale) -> Tensor:
    """Mean over the members: in the units of the label ``[B]`` or, quantile by quantile,
    ``[B, Y]``; or probabilities ``[B, Y]`` of the classes.
    """
    raw_BEY = raw_BY.unflatten(1, (-1, task.outputs))
    match task.kind:
        case TaskKind.REGRESSION:
            return raw_BEY[..., 0].mean(1) * scale.spread + scale.center
        case TaskKind.QUANTILE:
            return raw_BEY.mean(1) * scale.spread + scale.center
        case TaskKind.BINARY:
            return raw_BEY[..., 0].sigmoid().mean(1)
        case TaskKind.MULTICLASS:
            return raw_BEY.softmax(dim=-1).mean(1)
        case _ as unreachable:
            assert_never(unreachable)
