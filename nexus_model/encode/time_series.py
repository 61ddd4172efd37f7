"""Time-series encoder: ordered rows of one sample, mixed along real time.

B samples, L steps (oldest first), D width, N kept rows of all samples one after another. Each
mixer, attention or state space, is followed by a feed-forward; patterns such as ssm, ssm, attn as
in Lieber et al. 2024 (Jamba), section 2. Where a kernel is there for histories without padding, all
blocks do without it.
DIFFERS: time is days between rows, never their count; attention reads both directions.
"""

from collections.abc import Callable
from typing import Literal, Self, assert_never

from pydantic import Field, model_validator
from torch import Tensor, nn

from nexus_model.layers.attention.histories import packed_rows, padded_rows
from nexus_model.layers.attention.history import (
    HistoryAttention,
    HistoryAttentionConfig,
    check_position,
)
from nexus_model.layers.attention.kinds import AttentionKind, FullAttentionConfig
from nexus_model.layers.feed_forward import FeedForward
from nexus_model.layers.positions.alibi import AlibiConfig
from nexus_model.layers.positions.choose import PositionConfig
from nexus_model.layers.shape import check_shape
from nexus_model.layers.state_space.diagonal import DiagonalConfig, DiagonalMixer
from nexus_model.layers.state_space.selective import SelectiveConfig, SelectiveMixer
from nexus_model.schema import Record

MixerName = Literal["attn", "ssm", "selective"]


class TimeSeriesConfig(Record):
    """Rows as in ``mlp``; then attention or a state space over each sample's ordered history."""

    kind: Literal["timeseries"] = "timeseries"
    sequence_model: Literal["attention", "ssm", "selective", "hybrid"] = "attention"
    blocks: int = Field(1, gt=0, description="mixers; of hybrid, repetitions of its pattern")
    pattern: tuple[MixerName, ...] = Field((), description="mixers of hybrid, in order")
    heads: int = Field(4, gt=0, description="of attention")
    key_heads: int | None = Field(
        None, gt=0, description="heads of keys; as many as heads if unset"
    )
    attention: AttentionKind = FullAttentionConfig()
    position: PositionConfig = Field(AlibiConfig(), description="of attention; others read gaps")
    state: int = Field(8, gt=0, description="state of ssm and selective per channel")
    unit_days: float = Field(1.0, gt=0, description="days that ssm and selective count as one")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.sequence_model == "hybrid") != bool(self.pattern):
            raise ValueError(
                f"a pattern belongs to hybrid, got {self.sequence_model} with {list(self.pattern)}"
            )
        if self.key_heads is not None and self.heads % self.key_heads:
            raise ValueError(
                f"heads must be a multiple of key_heads, got {self.heads} and {self.key_heads}"
            )
        check_position(self.attention, self.position)
        return self

    def mixers(self) -> tuple[MixerName, ...]:
        """What mixes rows, in order.

        >>> TimeSeriesConfig(sequence_model="hybrid", pattern=("ssm", "attn"), blocks=2).mixers()
        ('ssm', 'attn', 'ssm', 'attn')
        """
        repeated: tuple[MixerName, ...]
        match self.sequence_model:
            case "attention":
                repeated = ("attn",)
            case "ssm" | "selective" as name:
                repeated = (name,)
            case "hybrid":
                repeated = self.pattern
            case _ as unreachable:
                assert_never(unreachable)
        return repeated * self.blocks


def build_mixer(name: MixerName, config: TimeSeriesConfig, width: int) -> nn.Module:
    """One mixer: ``(rows_BLD, age_BL, keep_BL) -> rows_BLD``, residual included."""
    match name:
        case "attn":
            chosen = HistoryAttentionConfig(
                heads=config.heads,
                key_heads=config.key_heads,
                attention=config.attention,
                position=config.position,
            )
            return HistoryAttention(chosen, width)
        case "ssm":
            waves = DiagonalConfig(state=config.state, unit_days=config.unit_days)
            return DiagonalMixer(waves, width)
        case "selective":
            chosen_state = SelectiveConfig(state=config.state, unit_days=config.unit_days)
            return SelectiveMixer(chosen_state, width)
        case _ as unreachable:
            assert_never(unreachable)


class TimeSeriesEncoder(nn.Module):
    """Mixers over steps, each with a feed-forward; zeros at steps that are not kept."""

    def __init__(
        self,
        width: int,
        config: TimeSeriesConfig,
        dropout: float,
        feed_forward: Callable[[int, int, float], nn.Module] = FeedForward,
    ) -> None:
        super().__init__()
        self.width, names = width, config.mixers()
        self.mixers = nn.ModuleList(build_mixer(name, config, width) for name in names)
        self.forwards = nn.ModuleList(feed_forward(width, width, dropout) for _ in names)

    def forward(self, rows_BLD: Tensor, age_BL: Tensor, keep_BL: Tensor) -> Tensor:
        check_shape(rows_BLD, "B L D", D=self.width)
        if self.packs(rows_BLD):
            return self._packed(rows_BLD, age_BL, keep_BL)
        for mix, feed in zip(self.mixers, self.forwards, strict=True):
            rows_BLD = feed(mix(rows_BLD, age_BL, keep_BL))
        return rows_BLD.masked_fill(~keep_BL[..., None], 0)

    def packs(self, rows: Tensor) -> bool:
        """Whether all blocks can do without padding here, and compute the same."""
        return all(
            isinstance(mix, HistoryAttention) and mix.packs(rows) for mix in self.mixers
        ) and all(
            # Stochastic depth leaves out samples, and routers count all rows there are.
            isinstance(feed, FeedForward) and not feed.config.stochastic_depth
            for feed in self.forwards
        )

    def _packed(self, rows_BLD: Tensor, age_BL: Tensor, keep_BL: Tensor) -> Tensor:
        rows_ND, age_N, histories, place_N = packed_rows(rows_BLD, age_BL, keep_BL)
        for mix, feed in zip(self.mixers, self.forwards, strict=True):
            assert isinstance(mix, HistoryAttention)
            rows_ND = feed(mix.packed(rows_ND, age_N, histories))
        return padded_rows(rows_ND, place_N, *keep_BL.shape)
