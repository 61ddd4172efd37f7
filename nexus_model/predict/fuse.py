"""Fusion: the state tokens of all tables become one vector per sample.

B samples, Q state tokens of all paths, D width, J questions. What belongs to a missing table
contributes exactly zero in every kind.
"""

from typing import assert_never

import torch
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.predict.additive import AdditiveFusion
from nexus_model.predict.fusion_kind import FusionKind


class ConcatFusion(nn.Module):
    """``state_BQD -> fused_BD``: all tokens side by side through one line."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(tokens * width, width)

    def forward(self, state_BQD: Tensor, keep_BQ: Tensor) -> Tensor:
        return self.project((self.norm(state_BQD) * keep_BQ[..., None]).flatten(1))


class AttentionFusion(nn.Module):
    """``questions`` learned reads of the tokens side by side, projected."""

    def __init__(self, width: int, heads: int, questions: int = 4) -> None:
        super().__init__()
        self.question_JD = nn.Parameter(torch.empty(questions, width))
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)
        self.project = nn.Linear(questions * width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reads count from the start: nothing else carries the state on."""
        nn.init.normal_(self.question_JD)
        self.attend.count_from_the_start()

    def forward(self, state_BQD: Tensor, keep_BQ: Tensor) -> Tensor:
        normed_BQD = self.norm(state_BQD)
        asked_BJD = self.question_JD.expand(len(state_BQD), -1, -1)
        keep_BJQ = keep_BQ[:, None].expand(-1, asked_BJD.shape[1], -1)
        return self.project(self.attend(asked_BJD, normed_BQD, keep_BJQ).flatten(1))


class GatedFusion(nn.Module):
    """Sum of projected tokens, each through gates of its own (Arevalo et al. 2017, eq. 1-2).

    DIFFERS: a gate looks at its own token, so that a missing table changes no other's.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.weight_QDD = nn.Parameter(torch.empty(tokens, width, 2 * width))
        self.bias_QD = nn.Parameter(torch.zeros(tokens, 2 * width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Unit scale of the sum."""
        tokens, width, _ = self.weight_QDD.shape
        nn.init.normal_(self.weight_QDD, std=(width * tokens) ** -0.5)

    def forward(self, state_BQD: Tensor, keep_BQ: Tensor) -> Tensor:
        both_BQD = torch.einsum("bqd,qde->bqe", self.norm(state_BQD), self.weight_QDD)
        value_BQD, gate_BQD = (both_BQD + self.bias_QD).chunk(2, dim=-1)
        return (value_BQD * gate_BQD.sigmoid() * keep_BQ[..., None]).sum(1)


def build_fusion(kind: FusionKind, width: int, heads: int, tokens: int) -> nn.Module:
    """``state_BQD, keep_BQ -> fused_BD`` over ``tokens`` state tokens."""
    match kind:
        case FusionKind.CONCAT:
            return ConcatFusion(width, tokens)
        case FusionKind.ATTENTION:
            return AttentionFusion(width, heads)
        case FusionKind.GATED:
            return GatedFusion(width, tokens)
        case FusionKind.ADDITIVE:
            return AdditiveFusion(width, tokens)
        case _ as unreachable:
            assert_never(unreachable)
