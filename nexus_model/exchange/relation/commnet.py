"""CommNet: each table hears the mean of the others; the simplest exchange, an ablation's baseline.

B samples, Q state tokens of all paths, P paths, D width. Sukhbaatar et al. 2016 (Learning
Multiagent Communication with Backpropagation), eq. 1-2: ``tanh(H h_i + C mean_{j != i} h_j)``.
DIFFERS: agents are tables; the result is added to the state through a projection.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from nexus_model.exchange.memory import Memory, hearing_weights, path_means
from nexus_model.schema import Record


class CommNetConfig(Record):
    """Mean messages."""

    kind: Literal["commnet"] = "commnet"


class CommNet(nn.Module):
    """``state + out(tanh(hold(norm(state)) + hear(mean of the other paths' states)))``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hold = nn.Linear(width, width)
        self.hear = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Messages of unit scale (docs/decisions/0010)."""
        nn.init.xavier_uniform_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def offer(self, memory: Memory) -> None:
        """Nothing: messages are states."""

    def forward(
        self,
        state_BQD: Tensor,
        offered: None,  # noqa: ARG002 - all operators are called alike
        memory: Memory,
        pair_BHPP: Tensor | None = None,  # noqa: ARG002 - all operators are called alike
    ) -> Tensor:
        normed_BQD = self.norm(state_BQD)
        mean_BPD = path_means(normed_BQD, memory)
        heard_PP = hearing_weights(memory, mean_BPD.dtype)
        there_BP = memory.keep_BP.to(mean_BPD.dtype)
        count_BP = there_BP @ heard_PP.T
        message_BPD = heard_PP @ (mean_BPD * there_BP[..., None])
        message_BPD = message_BPD / count_BP.clamp(min=1)[..., None]
        heard_BQD = self.hear(message_BPD)[:, memory.path_Q]
        return state_BQD + self.out(torch.tanh(self.hold(normed_BQD) + heard_BQD))
