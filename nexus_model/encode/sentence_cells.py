"""Vectors of sentences as cells: a norm, one line for all columns, the column's own vector.

R rows, C columns, D width, Z numbers of a sentence's vector. The vectors are a frozen model's
(Reimers and Gurevych 2019, Sentence-BERT); what is learned here is a probe on them.
"""

import math

import torch
from torch import Tensor, nn


class SentenceCells(nn.Module):
    """``line(norm(vector)) + bias_c`` where there is a text, else ``missing_c``."""

    def __init__(self, columns: int, vector_width: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(vector_width)
        self.line = nn.Linear(vector_width, width, bias=False)
        self.bias_CD = nn.Parameter(torch.empty(columns, width))
        self.missing_CD = nn.Parameter(torch.empty(columns, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Cells begin as long as those of other kinds: a deviation of 1 over the root of D."""
        width, vector_width = self.line.weight.shape
        self.norm.reset_parameters()
        nn.init.normal_(self.line.weight, std=1 / math.sqrt(width * vector_width))
        nn.init.zeros_(self.bias_CD)
        nn.init.normal_(self.missing_CD, std=1 / math.sqrt(width))

    def forward(self, vectors_RCZ: Tensor) -> Tensor:
        present_RC1 = vectors_RCZ.abs().amax(-1, keepdim=True) > 0
        normed_RCZ = self.norm(vectors_RCZ.to(self.line.weight.dtype))
        return torch.where(present_RC1, self.line(normed_RCZ) + self.bias_CD, self.missing_CD)
