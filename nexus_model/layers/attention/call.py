"""What an attention backend is asked: a frozen description of geometry, never of values.

B batch, H heads, Q queries, K keys, W head width.
"""

from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

MaskKind = Literal["any", "padding", "none"]


class AttentionCall(NamedTuple):
    """Geometry of one call.

    A ``padding`` mask lets every query that reads at all read the same keys; ``any`` promises
    nothing; with ``none`` every query reads every key. ``grouped`` calls have fewer heads of keys
    than of queries.
    """

    dtype: torch.dtype
    device: str
    head_width: int
    has_bias: bool
    mask: MaskKind = "any"
    grouped: bool = False


class Refusal(NamedTuple):
    """Why a backend would not take a call."""

    backend: str
    reasons: list[str]


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
        keep_BQK: Tensor | None,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read ``v`` at the kept keys; True in ``keep_BQK`` means the query may read the key.

        Without ``keep_BQK`` all keys are kept.

        ``k`` and ``v`` may have fewer heads than ``q``: each serves as many heads side by side.
        """
        ...
