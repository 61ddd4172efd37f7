"""FT-Transformer: the cells of a row are tokens, attention mixes them, a [CLS] token is the row.

R rows, C columns, D width. Gorishniy et al. 2021 (Revisiting Deep Learning Models for Tabular
Data), section 3.3, pre-norm. DIFFERS: SwiGLU instead of ReGLU; the first block keeps its norm;
dropout on what attention adds instead of on its weights, which no fused kernel on CPU supports.
"""

import torch
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.choose_feed_forward import FeedForwardMaker
from nexus_model.layers.dropout import Dropout
from nexus_model.layers.feed_forward import FeedForward
from nexus_model.layers.shape import check_shape


class FTTransformerEncoder(nn.Module):
    """``blocks`` of attention over the cells of one row and feed-forward; rows never mix."""

    def __init__(
        self,
        width: int,
        heads: int,
        blocks: int,
        dropout: float,
        feed_forward: FeedForwardMaker = FeedForward,
    ) -> None:
        super().__init__()
        self.width = width
        self.cls_D = nn.Parameter(torch.zeros(width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.attention = nn.ModuleList(MultiHeadAttention(width, heads) for _ in range(blocks))
        hidden = width * 4 // 3
        self.forwards = nn.ModuleList(feed_forward(width, hidden, dropout) for _ in range(blocks))
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The [CLS] token starts small and random, so that it is a query from the first step."""
        nn.init.normal_(self.cls_D, std=self.width**-0.5)
        for attention in self.attention:
            attention.count_from_the_start()

    def forward(self, cells_RCD: Tensor) -> Tensor:
        check_shape(cells_RCD, "R C D", D=self.width)
        rows = len(cells_RCD)
        tokens_RCD = torch.cat([self.cls_D.expand(rows, 1, -1), cells_RCD], dim=1)
        for index, (norm, attend, feed) in enumerate(
            zip(self.norms, self.attention, self.forwards, strict=True)
        ):
            normed_RCD = norm(tokens_RCD)
            # Only the [CLS] token is read after the last block.
            kept = slice(0, 1) if index == len(self.norms) - 1 else slice(None)
            read_RQD = self.dropout(attend(normed_RCD[:, kept], normed_RCD))
            tokens_RCD = feed(tokens_RCD[:, kept] + read_RQD)
        return self.norm(tokens_RCD[:, 0])
