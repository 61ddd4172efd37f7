"""GraphSAGE over foreign-key paths: mean, largest and counted sum of each other table's rows.

B samples, Q state tokens of all paths, K rows, P paths, D width, F = 3 D + 1 read-outs. Hamilton et
al. 2017 (Inductive Representation Learning on Large Graphs), algorithm 1 and section 3.3, with
weights typed by the path that sends, as in Schlichtkrull et al. 2018 (R-GCN), eq. 2.
DIFFERS: three aggregators stand side by side and the log-count stands beside them; the sum is
divided by the root of the count, which keeps cardinality and a bounded scale; what is heard is
added to the state.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from nexus_model.exchange.memory import Memory, hearing_weights
from nexus_model.schema import Record


class SageConfig(Record):
    """Typed mean, max and sum messages."""

    kind: Literal["sage"] = "sage"


class Sage(nn.Module):
    """Each path hears a projection of every other path's aggregated rows."""

    def __init__(self, width: int, paths: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.hold = nn.Linear(width, width)
        self.hear_PFD = nn.Parameter(torch.empty(paths, 3 * width + 1, width))
        self.out = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Messages keep unit scale (docs/decisions/0010)."""
        bound = 1 / math.sqrt(self.hear_PFD.shape[1])
        nn.init.uniform_(self.hear_PFD, -bound, bound)
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def offer(self, memory: Memory) -> Tensor:
        """``[B, P, D]``: what each path sends, in every cycle."""
        return torch.einsum("bpf,pfd->bpd", aggregate(memory), self.hear_PFD)

    def forward(
        self,
        state_BQD: Tensor,
        offered: Tensor,
        memory: Memory,
        pair_BHPP: Tensor | None = None,  # noqa: ARG002 - all operators are called alike
    ) -> Tensor:
        weight_PP = hearing_weights(memory, offered.dtype)
        there_BP = memory.keep_BP.to(offered.dtype)
        heard_BPD = weight_PP @ (offered * there_BP[..., None])
        heard_BPD = heard_BPD / (there_BP @ weight_PP.T).clamp(min=1e-6)[..., None]
        mixed_BQD = self.hold(self.norm(state_BQD)) + heard_BPD[:, memory.path_Q]
        return state_BQD + self.out(torch.relu(mixed_BQD))


def aggregate(memory: Memory) -> Tensor:
    """``[B, P, 3 D + 1]``: mean, max, sum over root count, and log-count of each path's rows."""
    rows_BKD, keep_BK = memory.rows_BKD, memory.keep_BK
    path_P = torch.arange(memory.paths, device=rows_BKD.device)
    of_BPK = (memory.path_BK[:, None] == path_P[:, None]) & keep_BK[:, None]
    of_BPK = of_BPK.to(rows_BKD.dtype)
    count_BP = of_BPK.sum(-1)
    total_BPD = of_BPK @ rows_BKD.masked_fill(~keep_BK[..., None], 0.0)
    at_BKD = memory.path_BK[..., None].expand_as(rows_BKD)
    largest_BPD = torch.full_like(total_BPD, -torch.inf).scatter_reduce(
        1, at_BKD, rows_BKD.masked_fill(~keep_BK[..., None], -torch.inf), "amax"
    )
    largest_BPD = largest_BPD.masked_fill(count_BP[..., None] == 0, 0.0)
    count_BP1 = count_BP.clamp(min=1)[..., None]
    parts = [total_BPD / count_BP1, largest_BPD, total_BPD / count_BP1.sqrt()]
    return torch.cat([*parts, count_BP.log1p()[..., None]], dim=-1)
