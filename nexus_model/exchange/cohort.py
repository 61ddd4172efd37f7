"""Cohort attention: those who are asked about together read each other, after their tables did.

B samples of a batch, D width, F features of a sample's clock. Who finishes first depends on who
else starts; so the samples of one cutoff see one another, as rows of one table do in Kossen et al.
2021 (Non-Parametric Transformers), section 3.1. DIFFERS: no labels are offered, and nobody
reads another cohort.
"""

import torch
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.dropout import Dropout
from nexus_model.layers.feed_forward import FeedForward


class CohortAttention(nn.Module):
    """``fused_BD, clock_BF, cohort_B -> fused_BD``; equal numbers in ``cohort_B`` belong together.

    Starts by adding nothing.

    >>> reader = CohortAttention(width=8, clock=2, heads=2, dropout=0.0)
    >>> fused_BD, clock_BF = torch.ones(3, 8), torch.ones(3, 2)
    >>> torch.equal(reader(fused_BD, clock_BF, torch.tensor([0, 0, 1])), fused_BD)
    True
    """

    def __init__(self, width: int, clock: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.moment_FD = nn.Parameter(torch.empty(clock, width))
        self.attend = MultiHeadAttention(width, heads)
        self.size = nn.Linear(1, width, bias=False)
        self.dropout = Dropout(dropout)
        self.think = FeedForward(width, 2 * width, dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The size of the cohort adds nothing at first, the clock little."""
        nn.init.normal_(self.moment_FD, std=0.3)
        nn.init.zeros_(self.size.weight)

    def forward(self, fused_BD: Tensor, clock_BF: Tensor, cohort_B: Tensor) -> Tensor:
        together_BB = cohort_B[:, None] == cohort_B
        # How old somebody is at the cutoff, and how old what is known, is in the clock alone.
        offered_1BD = (self.norm(fused_BD) + clock_BF @ self.moment_FD)[None]
        read_BD = self.attend(offered_1BD, offered_1BD, together_BB[None])[0]
        # A softmax forgets how many it read.
        count_B1 = together_BB.sum(-1, keepdim=True).to(fused_BD.dtype).log()
        return self.think(fused_BD + self.dropout(read_BD + self.size(count_B1)))
