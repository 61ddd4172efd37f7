"""Standard encoder: cells look at each other, then lie side by side through a residual MLP.

R rows, C columns, D width. Attention adds to the cells and starts at zero, so the encoder starts as
the ``mlp`` one and learns which columns explain each other.
"""

from torch import Tensor, nn

from nexus_model.encode.mlp import MLPEncoder
from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.choose_feed_forward import FeedForwardMaker
from nexus_model.layers.feed_forward import FeedForward
from nexus_model.layers.shape import check_shape


class StandardTabularEncoder(nn.Module):
    """Self-attention over the cells of one row, then the MLP encoder; rows never mix."""

    def __init__(
        self,
        columns: int,
        width: int,
        heads: int,
        blocks: int,
        dropout: float,
        feed_forward: FeedForwardMaker = FeedForward,
    ) -> None:
        super().__init__()
        self.columns, self.width = columns, width
        self.norm = nn.LayerNorm(width)
        # A single cell has nobody to look at.
        self.attention = MultiHeadAttention(width, heads) if columns > 1 else None
        self.mlp = MLPEncoder(columns, width, blocks, dropout, feed_forward)

    def forward(self, cells_RCD: Tensor) -> Tensor:
        check_shape(cells_RCD, "R C D", C=self.columns, D=self.width)
        if self.attention is None:
            return self.mlp(self.norm(cells_RCD))
        normed_RCD = self.norm(cells_RCD)
        return self.mlp(normed_RCD + self.attention(normed_RCD, normed_RCD))
