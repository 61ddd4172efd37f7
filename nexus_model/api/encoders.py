"""Encoders by name and size: small values that say how a table is read, and can be built alone.

R rows, C columns, D width.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor, nn

from nexus_model.config import NexusConfig
from nexus_model.encode.choose import (
    CustomConfig,
    EncoderConfig,
    FTTransformerConfig,
    MLPConfig,
    StandardConfig,
    TableConfig,
    build_history_encoder,
)
from nexus_model.encode.registry import TransformerFactory
from nexus_model.encode.table_encoder import TableEncoder
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.encode.text_cells import TextConfig
from nexus_model.encode.time_series import TimeSeriesConfig
from nexus_model.encode.time_series import TimeSeriesEncoder as HistoryEncoder
from nexus_model.layers.shape import check_shape
from nexus_model.schema import ColumnSpec, ConfigurationError, Record, SemanticType, TableSpec
from nexus_model.tokenize.batch import TableRows
from nexus_model.tokenize.fit import fit_table
from nexus_model.tokenize.statistics import TableTokenizer

Complexity = Literal["small", "medium", "large"]
Kind = Literal["standard", "mlp", "ft_transformer", "tabnet", "timeseries", "text"]

_CONFIGS: dict[Kind, type[Any]] = {
    "standard": StandardConfig,
    "mlp": MLPConfig,
    "ft_transformer": FTTransformerConfig,
    "tabnet": TabNetConfig,
    "timeseries": TimeSeriesConfig,
    "text": TextConfig,
}
_ARROW = {
    SemanticType.NUMERICAL: pa.float64(),
    SemanticType.CATEGORICAL: pa.string(),
    SemanticType.TIMESTAMP: pa.timestamp("us"),
    SemanticType.TEXT: pa.string(),
}


class Size(NamedTuple):
    """What a complexity stands for; heads and blocks count where the encoder has them."""

    width: int
    heads: int
    blocks: int


SIZES: dict[Complexity, Size] = {
    "small": Size(128, 2, 1),
    "medium": Size(256, 4, 2),
    "large": Size(512, 8, 3),
}


class EncoderSpecification(Record):
    """How one table is read; ``table`` or ``input_dim`` say what ``build`` is to read."""

    config: TableConfig
    table: TableSpec | TableTokenizer | None = None
    input_dim: int | None = Field(None, ge=0, description="columns, all of them numbers")

    @property
    def width(self) -> int:
        """Width of a row's vector when built alone."""
        return self.config.width or NexusConfig().width

    def build(self, *, dropout: float = 0.1) -> nn.Module:
        """The encoder that training uses: of the rows of ``table``, or of ``[R, input_dim]``.

        A table that nothing was fitted on has scales of one and knows no category.

        Raises:
            ConfigurationError: neither or both of ``table`` and ``input_dim`` are given.
        """
        if (self.table is None) == (self.input_dim is None):
            raise ConfigurationError("to build an encoder, give it either a table or input_dim")
        if self.table is not None:
            return TableEncoder(fitted(self.table), self.config, self.width, dropout)
        columns = tuple(
            ColumnSpec(name=str(number), semantic=SemanticType.NUMERICAL)
            for number in range(self.input_dim or 0)
        )
        table = fitted(TableSpec(name="numbers", columns=columns))
        return NumbersEncoder(TableEncoder(table, self.config, self.width, dropout))

    def build_history(self, *, dropout: float = 0.1) -> HistoryEncoder | None:
        """What mixes a sample's ordered rows ``[B, L, D]``; None unless it is a time series."""
        return build_history_encoder(self.config, self.width, dropout)


class NumbersEncoder(nn.Module):
    """Plain numbers ``[R, C]``, NaN where missing, to rows ``[R, D]``."""

    def __init__(self, rows: TableEncoder) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, numbers_RC: Tensor) -> Tensor:
        count = check_shape(numbers_RC, "R C")["R"]
        present_RC = ~numbers_RC.isnan()
        none_R0 = torch.zeros(count, 0, dtype=torch.int64, device=numbers_RC.device)
        rows = TableRows(
            numerical_RC=numbers_RC.masked_fill(~present_RC, 0),
            present_RC=present_RC,
            categorical_RC=none_R0,
            temporal_RCF=numbers_RC.new_zeros(count, 0, 0),
            text_RCL=none_R0[..., None],
            vectors_RCZ=numbers_RC.new_zeros(count, 0, 0),
            parents_RP=none_R0,
            ids_R=torch.arange(count, device=numbers_RC.device),
        )
        return self.rows(rows)


class NamedEncoder(Record):
    """An encoder's name; called, it gives a specification of some size.

    >>> FTTransformerEncoder(complexity="large").config.width
    512
    >>> TabNetEncoder(complexity="small", num_decision_steps=6).config.encoder.num_decision_steps
    6
    """

    kind: Kind

    def __call__(
        self,
        table: TableSpec | TableTokenizer | None = None,
        *,
        input_dim: int | None = None,
        complexity: Complexity = "medium",
        embed_dim: int | None = None,
        **options: Any,
    ) -> EncoderSpecification:
        """``embed_dim`` takes the place of the complexity's width; options are the encoder's own.

        Raises:
            ConfigurationError: the complexity is unknown.
            ValueError: the encoder has no such option.
        """
        if complexity not in SIZES:
            raise ConfigurationError(f"complexity must be in {list(SIZES)}, got {complexity!r}")
        size = SIZES[complexity]
        config = TableConfig(
            encoder=_encoder(self.kind, {"heads": size.heads, "blocks": size.blocks}, options),
            width=embed_dim or size.width,
        )
        return EncoderSpecification(config=config, table=table, input_dim=input_dim)


StandardTabularEncoder = StandardEncoder = NamedEncoder(kind="standard")
MLPEncoder = NamedEncoder(kind="mlp")
FTTransformerEncoder = NamedEncoder(kind="ft_transformer")
TabNetEncoder = NamedEncoder(kind="tabnet")
TimeSeriesEncoder = NamedEncoder(kind="timeseries")
TextEncoder = NamedEncoder(kind="text")

Encoder = EncoderSpecification | TableConfig | str


def table_config(encoder: Encoder) -> TableConfig:
    """An encoder in any of its forms as configuration; a bare name has the model's own width.

    Raises:
        ConfigurationError: a name is neither built in nor registered.
    """
    if isinstance(encoder, EncoderSpecification):
        return encoder.config
    if isinstance(encoder, TableConfig):
        return encoder
    if encoder in _CONFIGS:
        return TableConfig(encoder=_CONFIGS[encoder]())
    if encoder in TransformerFactory.registered():
        return TableConfig(encoder=CustomConfig(name=encoder))
    known = [*_CONFIGS, *TransformerFactory.registered()]
    raise ConfigurationError(f"no encoder is called {encoder!r}; there are {known}")


def create_encoder(
    encoder: Encoder, table: TableSpec | TableTokenizer, *, dropout: float = 0.1
) -> nn.Module:
    """The module that reads rows of ``table``, as inside a NexusFormer of the same width."""
    return EncoderSpecification(config=table_config(encoder), table=table).build(dropout=dropout)


def fitted(table: TableSpec | TableTokenizer) -> TableTokenizer:
    """The tokenizer of a table, or what fitting on no row gives.

    >>> column = ColumnSpec(name="age", semantic=SemanticType.NUMERICAL)
    >>> fitted(TableSpec(name="people", columns=(column,))).numerical[0].std
    1.0
    """
    if isinstance(table, TableTokenizer):
        return table
    columns = {c.name: pa.array([], _ARROW[c.semantic]) for c in table.columns}
    return fit_table(pa.table(columns), table, np.zeros(0, np.int64), np.zeros(0, bool))


def _encoder(kind: Kind, sizes: dict[str, int], options: dict[str, Any]) -> EncoderConfig:
    chosen = _CONFIGS[kind]
    usable = {name: size for name, size in sizes.items() if name in chosen.model_fields}
    config: EncoderConfig = chosen(**(usable | options))
    return config
