"""Cross-contextual attention: the state of one table reads all others, and its own rows apart.

B samples, Q state tokens of all paths, K rows of all paths, N rows then state tokens, D width.
``softmax(Q_i K_{j != i}^T / sqrt(d)) V_{j != i}`` (Vaswani et al. 2017, eq. 1, own table excluded).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nexus_model.exchange.memory import Memory
from nexus_model.layers.attention.multihead import MultiHeadAttention

Offered = tuple[Tensor, Tensor]


class Reading(NamedTuple):
    """What was read by whom, for explanations: masks and the path of each reader and offer."""

    keep_BQN: Tensor
    bias_BHQN: Tensor | None
    reader_BQ: Tensor
    offered_BN: Tensor


class CrossContextualAttention(nn.Module):
    """Queries read the representations of other tables; what they read counts from the start.

    >>> import torch
    >>> attend = CrossContextualAttention(width=8, heads=2)
    >>> query, context = torch.ones(1, 3, 8), torch.ones(1, 5, 8)
    >>> attend(query, [context, context]).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)
        self.attend.count_from_the_start()

    def forward(self, query_repr: Tensor, context_reprs: Sequence[Tensor]) -> Tensor:
        """``[B, Q, D]`` reads each ``[B, K, D]``; without any context the query comes back."""
        if not context_reprs:
            return query_repr
        offered_BKD = torch.cat(list(context_reprs), dim=1)
        keep_BQK = torch.ones(
            *query_repr.shape[:2], offered_BKD.shape[1], dtype=torch.bool, device=query_repr.device
        )
        return query_repr + self.attend(self.norm(query_repr), offered_BKD, keep_BQK)

    def offer(self, rows_BKD: Tensor) -> Offered:
        """Keys and values of the rows, the same in every cycle."""
        return self.attend.keys_and_values(rows_BKD)

    def read(
        self, state_BQD: Tensor, offered: Offered, keep_BQN: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """State after reading projected offers."""
        return state_BQD + self.attend.read(self.norm(state_BQD), offered, keep_BQN, bias)

    def with_tokens(self, offered: Offered, state_BQD: Tensor) -> Offered:
        """What rows offer, then the state tokens themselves, as others may read them."""
        tokens = self.attend.keys_and_values(self.norm(state_BQD))
        return torch.cat([offered[0], tokens[0]], dim=2), torch.cat([offered[1], tokens[1]], dim=2)


class OwnTableAttention(nn.Module):
    """State tokens read the rows of their own path."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)

    def offer(self, memory: Memory) -> Offered:
        """Keys and values of the rows, the same in every cycle."""
        return self.attend.keys_and_values(memory.rows_BKD)

    def forward(self, state_BQD: Tensor, offered: Offered, memory: Memory) -> Tensor:
        own_BQK = memory.path_Q[:, None] == memory.path_BK[:, None]
        keep_BQK = own_BQK & memory.keep_BK[:, None]
        return state_BQD + self.attend.read(self.norm(state_BQD), offered, keep_BQK)
