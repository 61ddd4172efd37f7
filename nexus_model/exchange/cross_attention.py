"""Cross-contextual attention: the state of one table reads the rows and state of all others.

B samples, Q state tokens of all paths, K rows of all paths, D width.
``softmax(Q_i K_{j != i}^T / sqrt(d)) V_{j != i}``: a path never reads its own rows here.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention


class Memory(NamedTuple):
    """Rows of all paths of each sample, and which path each row and each state token is of."""

    rows_BKD: Tensor
    keep_BK: Tensor
    path_K: Tensor
    path_Q: Tensor


def other_tables(memory: Memory) -> Tensor:
    """Bool ``[B, Q, K + Q]``: which rows, then which state tokens, each state token may read."""
    other_QK = memory.path_Q[:, None] != memory.path_K
    other_QQ = memory.path_Q[:, None] != memory.path_Q
    rows_BQK = other_QK & memory.keep_BK[:, None]
    return torch.cat([rows_BQK, other_QQ.expand(len(rows_BQK), -1, -1)], dim=-1)


class CrossContextualAttention(nn.Module):
    """State tokens read other tables; rows are projected once for all cycles."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)

    def offer(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows, the same in every cycle."""
        return self.attend.keys_and_values(memory.rows_BKD)

    def forward(self, state_BQD: Tensor, offered: tuple[Tensor, Tensor], memory: Memory) -> Tensor:
        normed_BQD = self.norm(state_BQD)
        k_BHQW, v_BHQW = self.attend.keys_and_values(normed_BQD)
        k_BHKW, v_BHKW = offered
        both = torch.cat([k_BHKW, k_BHQW], dim=2), torch.cat([v_BHKW, v_BHQW], dim=2)
        return state_BQD + self.attend.read(normed_BQD, both, other_tables(memory))


class OwnTableAttention(nn.Module):
    """State tokens read the rows of their own path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)

    def offer(self, memory: Memory) -> tuple[Tensor, Tensor]:
        """Keys and values of the rows, the same in every cycle."""
        return self.attend.keys_and_values(memory.rows_BKD)

    def forward(self, state_BQD: Tensor, offered: tuple[Tensor, Tensor], memory: Memory) -> Tensor:
        own_QK = memory.path_Q[:, None] == memory.path_K
        keep_BQK = own_QK & memory.keep_BK[:, None]
        return state_BQD + self.attend.read(self.norm(state_BQD), offered, keep_BQK)
