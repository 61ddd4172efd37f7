"""Cohort attention: those who are asked about together read each other, after their tables did.

B samples of a batch, D width. Who finishes first depends on who else starts; so the samples of one
cutoff see one another, as rows of one table do in Kossen et al. 2021 (Non-Parametric Transformers),
section 3.1. DIFFERS: no labels are offered, and nobody reads another cohort.
"""

from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.feed_forward import FeedForward


class CohortAttention(nn.Module):
    """``fused_BD, cohort_B -> fused_BD``; equal numbers in ``cohort_B`` belong together.

    Starts by adding nothing.

    >>> reader = CohortAttention(width=8, heads=2, dropout=0.0)
    >>> fused_BD = torch.ones(3, 8)
    >>> torch.equal(reader(fused_BD, torch.tensor([0, 0, 1])), fused_BD)
    True
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)
        self.size = nn.Linear(1, width, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.think = FeedForward(width, 2 * width, dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The size of the cohort adds nothing at first."""
        nn.init.zeros_(self.size.weight)

    def forward(self, fused_BD: Tensor, cohort_B: Tensor) -> Tensor:
        together_BB = cohort_B[:, None] == cohort_B
        offered_1BD = self.norm(fused_BD)[None]
        read_BD = self.attend(offered_1BD, offered_1BD, together_BB[None])[0]
        # A softmax forgets how many it read.
        count_B1 = together_BB.sum(-1, keepdim=True).to(fused_BD.dtype).log()
        return self.think(fused_BD + self.dropout(read_BD + self.size(count_B1)))
