"""Cells of a row as vectors: one embedding per column, whatever its kind.

R rows, C columns, D width, F features of a timestamp, L sub-words. Numbers: Gorishniy et al. 2021
(Revisiting Deep Learning Models for Tabular Data), section 3.3.
DIFFERS: a missing number is a learned vector of its column, not an imputed value.
"""

import math

import torch
from torch import Tensor, nn

from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.columns import TEMPORAL_FEATURES
from nexus_model.tokenize.statistics import TableTokenizer


class NumericalCells(nn.Module):
    """``x_c * weight_c + bias_c`` where present, else ``missing_c``."""

    def __init__(self, columns: int, width: int, features: int = 1) -> None:
        super().__init__()
        self.weight_CFD = nn.Parameter(torch.empty(columns, features, width))
        self.bias_CD = nn.Parameter(torch.empty(columns, width))
        self.missing_CD = nn.Parameter(torch.empty(columns, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within one over the square root of the width."""
        for parameter in self.parameters():
            bound = 1 / math.sqrt(parameter.shape[-1])
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, values_RCF: Tensor, present_RC: Tensor) -> Tensor:
        values_RCF = values_RCF.to(self.weight_CFD.dtype)
        cells_RCD = torch.einsum("rcf,cfd->rcd", values_RCF, self.weight_CFD) + self.bias_CD
        return torch.where(present_RC[..., None], cells_RCD, self.missing_CD)


class CategoricalCells(nn.Module):
    """One table of vectors for all columns, each column's ids shifted to its own part."""

    def __init__(self, sizes: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sum(sizes), width)
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("starts_C", starts, persistent=False)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))

    def forward(self, ids_RC: Tensor) -> Tensor:
        return self.embedding(ids_RC + self.get_buffer("starts_C"))


class TextCells(nn.Module):
    """Mean of sub-word vectors plus the column's own vector; id 0 is padding."""

    def __init__(self, columns: int, buckets: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(buckets, width)
        self.bias_CD = nn.Parameter(torch.zeros(columns, width))
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))

    def forward(self, ids_RCL: Tensor) -> Tensor:
        keep_RCL1 = (ids_RCL > 0)[..., None]
        total_RCD = (self.embedding(ids_RCL) * keep_RCL1).sum(-2)
        return total_RCD / keep_RCL1.sum(-2).clamp(min=1) + self.bias_CD


class CellEmbedding(nn.Module):
    """All cells of a table's rows in fixed column order: numbers, times, categories, texts."""

    def __init__(self, table: TableTokenizer, width: int) -> None:
        super().__init__()
        self.width = width
        self.counts = (
            len(table.numerical), len(table.temporal), len(table.categorical), len(table.text)
        )  # fmt: skip
        numbers, times, categories, texts = self.counts
        self.numerical = NumericalCells(numbers, width) if numbers else None
        self.temporal = NumericalCells(times, width, TEMPORAL_FEATURES) if times else None
        sizes = tuple(column.size for column in table.categorical)
        self.categorical = CategoricalCells(sizes, width) if categories else None
        buckets = max((column.buckets for column in table.text), default=0)
        self.text = TextCells(texts, buckets, width) if texts else None

    @property
    def columns(self) -> int:
        """Number of cells per row."""
        return sum(self.counts)

    def forward(self, rows: TableRows) -> Tensor:
        numbers = self.counts[0]
        count = len(rows.ids_R)
        cells = [rows.numerical_RC.new_zeros(count, 0, self.width)]
        if self.numerical is not None:
            values_RC1 = rows.numerical_RC[..., None]
            cells.append(self.numerical(values_RC1, rows.present_RC[:, :numbers]))
        if self.temporal is not None:
            cells.append(self.temporal(rows.temporal_RCF, rows.present_RC[:, numbers:]))
        if self.categorical is not None:
            cells.append(self.categorical(rows.categorical_RC))
        if self.text is not None:
            cells.append(self.text(rows.text_RCL))
        return torch.cat(cells, dim=1)
