"""Texts as vectors: sub-words averaged, or attending to each other first.

R rows, C columns, D width, L sub-words, N = R * C texts. Id 0 is padding.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.feed_forward import FeedForward
from nexus_model.schema import Record


class TextConfig(Record):
    """Rows as in ``mlp``; sub-words of texts attend to each other before they are pooled."""

    kind: Literal["text"] = "text"
    blocks: int = Field(1, gt=0, description="attention over the sub-words of a text")
    heads: int = Field(4, gt=0)


class WordVectors(nn.Embedding):
    """Vectors of sub-words: few texts have any one of them, so the optimiser moves them faster."""


class TextCells(nn.Module):
    """Mean of sub-word vectors plus the column's own vector."""

    def __init__(self, columns: int, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = WordVectors(vocabulary, width)
        self.bias_CD = nn.Parameter(torch.zeros(columns, width))
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))

    def forward(self, ids_RCL: Tensor) -> Tensor:
        keep_RCL1 = (ids_RCL > 0)[..., None]
        total_RCD = (self.embedding(ids_RCL) * keep_RCL1).sum(-2)
        return total_RCD / keep_RCL1.sum(-2).clamp(min=1) + self.bias_CD


class AttentiveTextCells(nn.Module):
    """Sub-words with their places attend to each other, then are averaged.

    Order counts, so that "not late" differs from "late, not". Vaswani et al. 2017, with learned
    places; as in BERT (Devlin et al. 2019) both directions are read.
    """

    def __init__(
        self, shape: tuple[int, int, int], width: int, config: TextConfig, dropout: float
    ) -> None:
        """``shape``: columns, vocabulary, sub-words per text."""
        super().__init__()
        columns, vocabulary, length = shape
        self.embedding = WordVectors(vocabulary, width)
        self.place_LD = nn.Parameter(torch.empty(length, width))
        self.bias_CD = nn.Parameter(torch.zeros(columns, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.blocks))
        self.attention = nn.ModuleList(
            MultiHeadAttention(width, config.heads) for _ in range(config.blocks)
        )
        self.forwards = nn.ModuleList(
            FeedForward(width, width, dropout) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Words weigh more than places at the start."""
        width = self.place_LD.shape[1]
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))
        nn.init.normal_(self.place_LD, std=0.2 / math.sqrt(width))

    def forward(self, ids_RCL: Tensor) -> Tensor:
        ids_NL = ids_RCL.flatten(0, 1)
        keep_NL = ids_NL > 0
        words_NLD = self.embedding(ids_NL) + self.place_LD[: ids_NL.shape[1]]
        keep_NLL = (keep_NL[:, :, None] & keep_NL[:, None]).expand(-1, -1, -1)
        for norm, attend, feed in zip(self.norms, self.attention, self.forwards, strict=True):
            normed_NLD = norm(words_NLD)
            words_NLD = feed(words_NLD + attend(normed_NLD, normed_NLD, keep_NLL))
        keep_NL1 = keep_NL[..., None]
        total_ND = (self.norm(words_NLD) * keep_NL1).sum(1)
        mean_ND = total_ND / keep_NL1.sum(1).clamp(min=1)
        return mean_ND.unflatten(0, ids_RCL.shape[:2]) + self.bias_CD
