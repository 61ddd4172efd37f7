"""Which encoder reads a table: a closed union of configurations, one place that builds them."""

from typing import Annotated, Literal, assert_never

from pydantic import Field
from torch import nn

from nexus_model.encode.ft_transformer import FTTransformerEncoder
from nexus_model.encode.standard import StandardTabularEncoder
from nexus_model.encode.time_series import TimeSeriesEncoder
from nexus_model.schema import Record


class StandardConfig(Record):
    """Cells side by side through a residual MLP."""

    kind: Literal["standard"] = "standard"
    blocks: int = Field(1, gt=0, description="feed-forward blocks")


class FTTransformerConfig(Record):
    """Attention over the cells of a row."""

    kind: Literal["ft_transformer"] = "ft_transformer"
    blocks: int = Field(1, gt=0, description="attention over the cells of a row")
    heads: int = Field(4, gt=0)


class TimeSeriesConfig(Record):
    """Rows as in ``standard``; then attention over each sample's ordered history."""

    kind: Literal["timeseries"] = "timeseries"
    blocks: int = Field(1, gt=0, description="attention over the rows of a history")
    heads: int = Field(4, gt=0)


EncoderConfig = Annotated[
    StandardConfig | FTTransformerConfig | TimeSeriesConfig, Field(discriminator="kind")
]


def build_row_encoder(config: EncoderConfig, columns: int, width: int, dropout: float) -> nn.Module:
    """The encoder of single rows: ``cells_RCD -> rows_RD``."""
    match config:
        case StandardConfig():
            return StandardTabularEncoder(columns, width, config.blocks, dropout)
        case FTTransformerConfig():
            return FTTransformerEncoder(width, config.heads, config.blocks, dropout)
        case TimeSeriesConfig():
            return StandardTabularEncoder(columns, width, 1, dropout)
        case _ as unreachable:
            assert_never(unreachable)


def build_history_encoder(
    config: EncoderConfig, width: int, dropout: float
) -> TimeSeriesEncoder | None:
    """The encoder of ordered histories, for the tables that ask for one."""
    match config:
        case StandardConfig() | FTTransformerConfig():
            return None
        case TimeSeriesConfig():
            return TimeSeriesEncoder(width, config.heads, config.blocks, dropout)
        case _ as unreachable:
            assert_never(unreachable)
