"""What an attention backend is asked: a frozen description of geometry, never of values.

B batch, H heads, Q queries, K keys, W head width.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nexus_model.layers.attention.keep import Keep, MaskKind

__all__ = ["AttentionBackend", "AttentionCall", "MaskKind"]


class AttentionCall(NamedTuple):
    """Geometry of one call.

    A ``padding`` mask lets every query that reads at all read the same keys; with ``segments`` many
    histories stand one after another and each reads itself; ``any`` promises nothing; with
    ``none`` every query reads every key. ``grouped`` calls have fewer heads of keys than of
    queries.
    """

    dtype: torch.dtype
    device: str
    head_width: int
    has_bias: bool
    mask: MaskKind = "any"
    grouped: bool = False


class AttentionBackend(Protocol):
    """``softmax(q k^T / sqrt(W) + bias) v`` over kept keys; a query that keeps none reads zeros."""

    name: str

    def refusals(self, call: AttentionCall) -> list[str]:
        """Reasons not to take the call; empty if it can."""
        ...

    def attend(
        self,
        q_BHQW: Tensor,
        k_BHKW: Tensor,
        v_BHKW: Tensor,
        keep: Keep,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read ``v`` at the kept keys.

        ``keep`` is a matrix ``[B, Q, K]``, True where the query may read the key, or a mask that
        needs none; without it all keys are kept.

        ``k`` and ``v`` may have fewer heads than ``q``: each serves as many heads side by side.
        """
        ...
