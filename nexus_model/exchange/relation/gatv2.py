"""GATv2: attention whose ranking of neighbours depends on who asks.

B samples, Q state tokens of all paths, K rows, N rows then state tokens, D width, H heads, W head
width. Brody et al. 2022 (How Attentive are Graph Attention Networks?), eq. 7: the non-linearity
stands before the attention vector, ``a^T LeakyReLU(W_l h_i + W_r h_j)``, softmax per destination.
DIFFERS: neighbours are the rows and states of a sample's other tables, and what they say is added.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus_model.exchange.memory import Memory, other_tables, reading_bias
from nexus_model.schema import Record


class GatV2Config(Record):
    """Additive attention over other tables."""

    kind: Literal["gatv2"] = "gatv2"


class GatV2(nn.Module):
    """State tokens read other tables by additive attention; memory grows with Q * N * D."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.ask = nn.Linear(width, width)
        self.tell = nn.Linear(width, width, bias=False)
        self.score_HW = nn.Parameter(torch.empty(heads, width // heads))
        self.out = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scores and messages of unit scale (docs/decisions/0010)."""
        nn.init.normal_(self.score_HW, std=self.score_HW.shape[1] ** -0.5)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def offer(self, memory: Memory) -> Tensor:
        """``[B, K, D]``: projected rows."""
        return self.tell(memory.rows_BKD)

    def forward(
        self, state_BQD: Tensor, offered: Tensor, memory: Memory, pair_BHPP: Tensor | None = None
    ) -> Tensor:
        normed_BQD = self.norm(state_BQD)
        told_BND = torch.cat([offered, self.tell(normed_BQD)], dim=1)
        asked_BQHW = self.ask(normed_BQD).unflatten(-1, (self.heads, -1))
        told_BNHW = told_BND.unflatten(-1, (self.heads, -1))
        mixed_BQNHW = F.leaky_relu(asked_BQHW[:, :, None] + told_BNHW[:, None], 0.2)
        scores_BHQN = torch.einsum("bqnhw,hw->bhqn", mixed_BQNHW, self.score_HW)
        bias = reading_bias(memory, pair_BHPP)
        scores_BHQN = scores_BHQN if bias is None else scores_BHQN + bias
        keep_BQN = other_tables(memory)
        some_BQ1 = keep_BQN.any(-1, keepdim=True)
        hidden_B1QN = (~keep_BQN & some_BQ1)[:, None]
        weight_BHQN = scores_BHQN.masked_fill(hidden_B1QN, -torch.inf).softmax(-1)
        weight_BHQN = weight_BHQN * keep_BQN[:, None]
        read_BQD = torch.einsum("bhqn,bnhw->bqhw", weight_BHQN, told_BNHW).flatten(2)
        return state_BQD + self.out(read_BQD) * some_BQ1
