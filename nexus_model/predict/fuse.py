"""Attention fusion: learned questions read the state tokens of all tables.

B samples, Q state tokens, D width, J questions.
"""

import torch
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention


class AttentionFusion(nn.Module):
    """``state_BQD -> fused_BD``: ``questions`` reads side by side, projected."""

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
        nn.init.xavier_uniform_(self.attend.out.weight)

    def forward(self, state_BQD: Tensor) -> Tensor:
        normed_BQD = self.norm(state_BQD)
        batch, tokens, _ = state_BQD.shape
        asked_BJD = self.question_JD.expand(batch, -1, -1)
        keep_BJQ = torch.ones(
            batch, asked_BJD.shape[1], tokens, dtype=torch.bool, device=state_BQD.device
        )
        return self.project(self.attend(asked_BJD, normed_BQD, keep_BJQ).flatten(1))
