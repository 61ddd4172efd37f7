"""Iterative refinement: one block of reads applied to its own output, cycle after cycle.

B samples, Q state tokens, D width. Recycling after Jumper et al. 2021 (AlphaFold 2), section 1.10.
DIFFERS: rows are not rewritten, only the state is; so rows are projected once for all cycles, and
weights are shared.
"""

from torch import Tensor, nn

from nexus_model.exchange.cross_attention import (
    CrossContextualAttention,
    Memory,
    OwnTableAttention,
)
from nexus_model.layers.feed_forward import FeedForward


class Refinement(nn.Module):
    """``cycles`` times: read own rows, read other tables, think."""

    def __init__(self, width: int, heads: int, cycles: int, dropout: float) -> None:
        super().__init__()
        self.cycles = cycles
        self.own = OwnTableAttention(width, heads)
        self.cross = CrossContextualAttention(width, heads)
        self.think = FeedForward(width, 2 * width, dropout)

    def forward(self, state_BQD: Tensor, memory: Memory) -> Tensor:
        own, others = self.own.offer(memory), self.cross.offer(memory)
        for _ in range(self.cycles):
            state_BQD = self.own(state_BQD, own, memory)
            state_BQD = self.cross(state_BQD, others, memory)
            state_BQD = self.think(state_BQD)
        return state_BQD
