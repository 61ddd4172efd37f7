"""Feed-forward block whose residual output starts at zero.

D width, F hidden width. SwiGLU (Shazeer 2020, GLU Variants Improve Transformer, eq. 6).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """``x + down(dropout(silu(gate) * up))`` over the normed input; any leading dimensions.

    >>> import torch
    >>> FeedForward(8, 16)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * hidden)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the identity."""
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.up(self.norm(x)).chunk(2, dim=-1)
        return x + self.down(self.dropout(F.silu(gate) * up))
