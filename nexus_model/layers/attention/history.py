"""Attention along one sample's ordered rows: position, kind and projections in one mixer.

B samples, L steps (oldest first), D width, H heads, W head width, N kept rows of all samples one
after another.
DIFFERS from a text transformer: full attention reads in both directions, since every row of a
history lies before the cut-off.
"""

from typing import assert_never

from torch import Tensor, nn

from nexus_model.layers.attention.keep import Padding, Segments
from nexus_model.layers.attention.kinds import (
    AttentionKind,
    FullAttentionConfig,
    LinearAttentionConfig,
    SlidingWindowConfig,
)
from nexus_model.layers.attention.linear import linear_attention
from nexus_model.layers.attention.multihead import MultiHeadAttention
from nexus_model.layers.attention.reference import one_per_query_head
from nexus_model.layers.attention.window import in_chunks, out_of_chunks
from nexus_model.layers.positions.choose import PositionConfig, build_position
from nexus_model.layers.positions.none import NoPositionConfig
from nexus_model.layers.positions.rotary import RotaryConfig
from nexus_model.layers.positions.sinusoidal import SinusoidalConfig
from nexus_model.layers.shape import check_shape
from nexus_model.schema import Record

_ADDED = ("none", "sinusoidal", "learned")


class HistoryAttentionConfig(Record):
    """Heads, kind and position of attention along a history."""

    heads: int
    key_heads: int | None
    attention: AttentionKind
    position: PositionConfig


def check_position(kind: AttentionKind, position: PositionConfig) -> None:
    """Refuse a position that a kind of attention cannot use.

    Raises:
        ValueError: linear attention with a bias or a rotation.
    """
    if kind.kind == "linear" and position.kind not in _ADDED:
        raise ValueError(
            f"linear attention takes a position of {', '.join(_ADDED)}, got {position.kind}"
        )


def _reads_packed(config: HistoryAttentionConfig) -> bool:
    """Whether rows may come without padding: all read all, and none is told its step."""
    match config.position:
        case RotaryConfig(by="days") | SinusoidalConfig(by="days") | NoPositionConfig():
            return config.attention.kind == "full"
        case _:
            return False


class HistoryAttention(nn.Module):
    """Rows add what they read of their history; rows that are not kept add nothing."""

    def __init__(self, config: HistoryAttentionConfig, width: int) -> None:
        super().__init__()
        check_position(config.attention, config.position)
        self.kind = config.attention
        self.reads_packed = _reads_packed(config)
        self.norm = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, config.heads, config.key_heads)
        self.position = build_position(config.position, width, config.heads)

    def forward(self, rows_BLD: Tensor, age_BL: Tensor, keep_BL: Tensor) -> Tensor:
        check_shape(rows_BLD, "B L D", D=self.attend.width)
        q_BHLW, offered = self._asked(rows_BLD, age_BL)
        match self.kind:
            case FullAttentionConfig():
                bias = self.position.bias(age_BL, age_BL)
                read_BHLW = self.attend.look(q_BHLW, offered, Padding(keep_BL, keep_BL), bias)
            case LinearAttentionConfig(causal=causal):
                k_BHLW, v_BHLW = (one_per_query_head(x, q_BHLW.shape[1]) for x in offered)
                read_BHLW = linear_attention(q_BHLW, k_BHLW, v_BHLW, keep_BL, causal=causal)
            case SlidingWindowConfig() as window:
                read_BHLW = self._near(window, q_BHLW, offered, age_BL, keep_BL)
            case _ as unreachable:
                assert_never(unreachable)
        return rows_BLD + self.attend.join(read_BHLW, keep_BL[..., None])

    def packs(self, rows: Tensor) -> bool:
        """Whether rows like these are better given to ``packed``: a kernel is there for them."""
        return self.reads_packed and self.attend.packs(rows)

    def packed(self, rows_ND: Tensor, age_N: Tensor, histories: Segments) -> Tensor:
        """As ``forward``, of rows without any padding; where ``reads_packed``."""
        q_1HNW, offered = self._asked(rows_ND[None], age_N[None])
        read_1HNW = self.attend.look(q_1HNW, offered, histories)
        return rows_ND + self.attend.join(read_1HNW, None)[0]

    def _asked(self, rows_BLD: Tensor, age_BL: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        asking_BLD = self.position.add(self.norm(rows_BLD), age_BL)
        q_BHLW = self.position.rotate(self.attend.queries(asking_BLD), age_BL)
        k_BHLW, v_BHLW = self.attend.keys_and_values(asking_BLD)
        return q_BHLW, (self.position.rotate(k_BHLW, age_BL), v_BHLW)

    def _near(
        self,
        window: SlidingWindowConfig,
        q_BHLW: Tensor,
        offered: tuple[Tensor, Tensor],
        age_BL: Tensor,
        keep_BL: Tensor,
    ) -> Tensor:
        chunks = in_chunks(window, q_BHLW, offered, age_BL, keep_BL)
        bias = self.position.bias(chunks.age_NQ, chunks.age_NK)
        read_NHQW = self.attend.look(
            chunks.q_NHQW, (chunks.k_NHKW, chunks.v_NHKW), chunks.keep_NQK, bias
        )
        return out_of_chunks(read_NHQW, *keep_BL.shape)
