"""Dropout whose random numbers cost a third: four decisions out of every 64 random bits.

Srivastava et al. 2014 (Dropout), section 4; what stays is scaled up, so prediction changes nothing.
DIFFERS: the share is rounded to 1 / 65536, and what stays is scaled by the share that truly stays.
torch draws one number of 32 bits for each cell, and on a CPU that is most of the cost.
"""

import torch
from torch import Tensor, nn

LEVELS = 1 << 16
_PER_DRAW = 4  # 16 bits of 64


class Dropout(nn.Module):
    """Zeros in place of a share of the cells, in training.

    >>> Dropout(0.5).eval()(torch.ones(2, 3)).sum().item()
    6.0
    >>> sorted(set(Dropout(0.5)(torch.ones(100)).tolist()))
    [0.0, 2.0]
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"share must be at least 0 and under 1, got {share}")
        self.left_out = min(round(share * LEVELS), LEVELS - 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.left_out:
            return x
        if torch.compiler.is_compiling():
            return x * drawn_in_kernel(x, self.left_out)
        return x * kept(x, self.left_out)

    def extra_repr(self) -> str:
        return f"share={self.left_out / LEVELS:g}"


def kept(x: Tensor, left_out: int) -> Tensor:
    """Of the shape and type of ``x``: 0 with probability ``left_out / LEVELS``, else the scale."""
    cells = x.numel()
    draws = torch.empty(-(-cells // _PER_DRAW), dtype=torch.int64, device=x.device)
    draws.random_(torch.iinfo(torch.int64).min, None)
    levels = draws.view(torch.int16)[:cells].view(x.shape)
    stays = levels >= left_out - LEVELS // 2
    return stays.to(x.dtype).mul_(LEVELS / (LEVELS - left_out))


def drawn_in_kernel(x: Tensor, left_out: int) -> Tensor:
    """As ``kept``, for a compiler: it fuses the draw into what uses it, and stores none of it."""
    stays = torch.rand(x.shape, device=x.device) >= left_out / LEVELS
    return stays.to(x.dtype) * (LEVELS / (LEVELS - left_out))
