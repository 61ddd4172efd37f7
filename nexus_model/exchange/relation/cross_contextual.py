"""Cross-contextual attention as a relation operator: rows and state of all other tables.

B samples, Q state tokens of all paths, K rows, N rows then state tokens, D width, H heads, P paths.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from nexus_model.exchange.cross_attention import CrossContextualAttention, Offered, Reading
from nexus_model.exchange.memory import Memory, other_tables, reading_bias
from nexus_model.exchange.peers import PeerReader
from nexus_model.layers.tap import Tap
from nexus_model.schema import Record


class CrossContextualConfig(Record):
    """Attention over all other tables, or over the ``top_k`` a router picks per sample."""

    kind: Literal["cross_contextual"] = "cross_contextual"
    top_k: int | None = Field(None, gt=0, description="peer tables read; all if unset")


class CrossContextual(nn.Module):
    """State tokens read other tables; rows are projected once for all cycles."""

    def __init__(self, config: CrossContextualConfig, width: int, heads: int) -> None:
        super().__init__()
        self.attention = CrossContextualAttention(width, heads)
        self.peers = PeerReader(config.top_k, width) if config.top_k else None
        self.tap_reading = Tap()

    def offer(self, memory: Memory) -> Offered:
        """Keys and values of the rows."""
        return self.attention.offer(memory.rows_BKD)

    def forward(
        self, state_BQD: Tensor, offered: Offered, memory: Memory, pair_BHPP: Tensor | None = None
    ) -> Tensor:
        both = self.attention.with_tokens(offered, state_BQD)
        bias = reading_bias(memory, pair_BHPP)
        if self.peers is not None:
            return self.peers(state_BQD, both, memory, bias, self.attention, self.tap_reading)
        reading = self.tap_reading(
            Reading(
                other_tables(memory),
                bias,
                memory.path_Q.expand(len(state_BQD), -1),
                memory.path_BN,
            )
        )
        return self.attention.read(state_BQD, both, reading.keep_BQN, reading.bias_BHQN)
