"""Cells of a row as vectors: one embedding per column, whatever its kind.

R rows, C columns, D width, F features of a timestamp, L sub-words, Z numbers of a sentence's
vector. Gorishniy et al. 2021 (Revisiting Deep Learning Models for Tabular Data), section 3.3.
"""

import math

import torch
from torch import Tensor, nn

from nexus_model.encode.choose import TableConfig
from nexus_model.encode.numbers import LinearCells, build_numbers
from nexus_model.encode.sentence_cells import SentenceCells
from nexus_model.encode.text_cells import AttentiveTextCells, TextCells, TextConfig
from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.columns import TEMPORAL_FEATURES, UNKNOWN
from nexus_model.tokenize.statistics import TableTokenizer


class CategoricalCells(nn.Module):
    """One table of vectors for all columns, each column's ids shifted to its own part.

    In training a share of the ids is hidden, so that the vector of unknown values is learned.
    """

    def __init__(self, sizes: tuple[int, ...], width: int, unknown_rate: float = 0.0) -> None:
        super().__init__()
        self.unknown_rate = unknown_rate
        self.embedding = nn.Embedding(sum(sizes), width)
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("starts_C", starts, persistent=False)
        nn.init.normal_(self.embedding.weight, std=1 / math.sqrt(width))

    def forward(self, ids_RC: Tensor) -> Tensor:
        if self.training and self.unknown_rate:
            hidden_RC = torch.rand(ids_RC.shape, device=ids_RC.device) < self.unknown_rate
            ids_RC = ids_RC.masked_fill(hidden_RC, UNKNOWN)
        return self.embedding(ids_RC + self.get_buffer("starts_C"))


class CellEmbedding(nn.Module):
    """All cells of a table's rows in fixed column order: numbers, times, categories, texts."""

    def __init__(
        self, table: TableTokenizer, config: TableConfig, width: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.counts = (
            len(table.numerical), len(table.temporal), len(table.categorical), len(table.text)
        )  # fmt: skip
        times = len(table.temporal)
        self.numerical = (
            build_numbers(config.numbers, table.numerical, width) if table.numerical else None
        )
        self.temporal = LinearCells(times, width, TEMPORAL_FEATURES) if times else None
        sizes = tuple(column.size for column in table.categorical)
        self.categorical = CategoricalCells(sizes, width, config.unknown_rate) if sizes else None
        self.text = _text_cells(table, config, width, dropout) if table.subword_columns else None
        sentences = table.sentence_columns
        self.sentences = (
            SentenceCells(len(sentences), sentences[0].width, width) if sentences else None
        )

    @property
    def columns(self) -> int:
        """Number of cells per row."""
        return sum(self.counts)

    def forward(self, rows: TableRows) -> Tensor:
        numbers = self.counts[0]
        count = len(rows.ids_R)
        cells = [rows.numerical_RC.new_zeros(count, 0, self.width)]
        if self.numerical is not None:
            cells.append(self.numerical(rows.numerical_RC, rows.present_RC[:, :numbers]))
        if self.temporal is not None:
            cells.append(self.temporal(rows.temporal_RCF, rows.present_RC[:, numbers:]))
        if self.categorical is not None:
            cells.append(self.categorical(rows.categorical_RC))
        if self.text is not None:
            cells.append(self.text(rows.text_RCL))
        if self.sentences is not None:
            cells.append(self.sentences(rows.vectors_RCZ))
        return torch.cat(cells, dim=1)


def _text_cells(
    table: TableTokenizer, config: TableConfig, width: int, dropout: float
) -> nn.Module:
    columns = len(table.subword_columns)
    vocabulary = max(column.vocabulary for column in table.subword_columns)
    if not isinstance(config.encoder, TextConfig):
        return TextCells(columns, vocabulary, width)
    length = max(column.length for column in table.subword_columns)
    return AttentiveTextCells((columns, vocabulary, length), width, config.encoder, dropout)
