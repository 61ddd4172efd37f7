"""GPS: message passing between tables beside attention over a sample's whole subgraph.

B samples, Q state tokens of all paths, N rows then state tokens, D width, H heads, P paths.
Rampasek et al. 2022 (Recipe for a General, Powerful, Scalable Graph Transformer), eq. 2-5: a local
and a global block side by side, summed, then feed-forward.
DIFFERS: the graph of attention is one sample's rows and states, never the batch's; the feed-forward
is the refinement's own, which follows.
"""

from typing import Literal, NamedTuple

from torch import Tensor, nn

from nexus_model.exchange.cross_attention import CrossContextualAttention, Offered
from nexus_model.exchange.memory import Memory, every_table, reading_bias
from nexus_model.exchange.relation.sage import Sage
from nexus_model.schema import Record


class GpsConfig(Record):
    """Local messages, global attention, or both."""

    kind: Literal["gps"] = "gps"
    parts: Literal["both", "local", "global"] = "both"


class GpsOffer(NamedTuple):
    """What the local and the global part send in every cycle."""

    local_BPD: Tensor | None
    rows: Offered | None


class Gps(nn.Module):
    """``state + local messages + attention over everything of the sample, own rows included``."""

    def __init__(self, config: GpsConfig, width: int, heads: int, paths: int) -> None:
        super().__init__()
        self.local = Sage(width, paths) if config.parts != "global" else None
        self.everywhere = (
            CrossContextualAttention(width, heads) if config.parts != "local" else None
        )

    def offer(self, memory: Memory) -> GpsOffer:
        """Aggregated rows, and keys and values of rows."""
        return GpsOffer(
            None if self.local is None else self.local.offer(memory),
            None if self.everywhere is None else self.everywhere.offer(memory.rows_BKD),
        )

    def forward(
        self, state_BQD: Tensor, offered: GpsOffer, memory: Memory, pair_BHPP: Tensor | None = None
    ) -> Tensor:
        result_BQD = state_BQD
        if self.local is not None and offered.local_BPD is not None:
            heard_BQD = self.local(state_BQD, offered.local_BPD, memory, pair_BHPP)
            result_BQD = result_BQD + (heard_BQD - state_BQD)
        if self.everywhere is not None and offered.rows is not None:
            both = self.everywhere.with_tokens(offered.rows, state_BQD)
            bias = reading_bias(memory, pair_BHPP)
            read_BQD = self.everywhere.read(state_BQD, both, every_table(memory), bias)
            result_BQD = result_BQD + (read_BQD - state_BQD)
        return result_BQD
