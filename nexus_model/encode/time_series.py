"""Time-series encoder: attention over the ordered rows of one sample, aware of real time gaps.

B samples, L steps (oldest first), D width, H heads. The distance in days between two rows biases
their scores by a learned slope per head, ALiBi in time units (Press et al. 2022, section 3).
DIFFERS: distances are log(1 + days), slopes are learned, and both directions are read.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.feed_forward import FeedForward
from nexus_model.layers.shape import check_shape


class TimeSeriesEncoder(nn.Module):
    """``blocks`` of attention over steps and feed-forward; steps that are not kept read nothing."""

    def __init__(self, width: int, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.attention = nn.ModuleList(MultiHeadAttention(width, heads) for _ in range(blocks))
        self.forwards = nn.ModuleList(FeedForward(width, width, dropout) for _ in range(blocks))
        self.slopes_H = nn.Parameter(torch.zeros(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Heads start from nearly blind to time to strongly local."""
        with torch.no_grad():
            self.slopes_H.copy_(torch.linspace(-3.0, 1.0, self.heads))

    def forward(self, rows_BLD: Tensor, age_BL: Tensor, keep_BL: Tensor) -> Tensor:
        check_shape(rows_BLD, "B L D", D=self.width)
        gap_BLL = (age_BL[:, :, None] - age_BL[:, None, :]).abs().log1p()
        bias_BHLL = -F.softplus(self.slopes_H)[:, None, None] * gap_BLL[:, None]
        keep_BLL = keep_BL[:, :, None] & keep_BL[:, None, :]
        for norm, attend, feed in zip(self.norms, self.attention, self.forwards, strict=True):
            normed_BLD = norm(rows_BLD)
            rows_BLD = feed(rows_BLD + attend(normed_BLD, normed_BLD, keep_BLL, bias_BHLL))
        return rows_BLD * keep_BL[..., None]
