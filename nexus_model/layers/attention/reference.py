"""The attention formula as written, any dtype and device (Vaswani et al. 2017, eq. 1).

B batch, H heads, Q queries, K keys, W head width.
DIFFERS: a query that keeps no key reads zeros instead of NaN.
"""

import math

import torch
from torch import Tensor

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.keep import Keep, as_matrix


def attention_weights(
    q_BHQW: Tensor, k_BHKW: Tensor, keep_BQK: Tensor | None, bias_BHQK: Tensor | None = None
) -> Tensor:
    """Weights ``[B, H, Q, K]``; each row sums to one, or to zero where nothing is kept."""
    k_BHKW = one_per_query_head(k_BHKW, q_BHQW.shape[1])
    scores_BHQK = q_BHQW @ k_BHKW.transpose(-1, -2) / math.sqrt(q_BHQW.shape[-1])
    if bias_BHQK is not None:
        scores_BHQK = scores_BHQK + bias_BHQK
    if keep_BQK is None:
        return scores_BHQK.softmax(dim=-1)
    keep_B1QK = keep_BQK[:, None]
    # A query that keeps nothing is left unmasked and zeroed after, so that no NaN has a gradient.
    hidden_B1QK = ~keep_B1QK & keep_B1QK.any(-1, keepdim=True)
    return scores_BHQK.masked_fill(hidden_B1QK, -torch.inf).softmax(dim=-1) * keep_B1QK


def one_per_query_head(k_BHKW: Tensor, heads: int) -> Tensor:
    """Keys or values repeated for the heads that share them.

    >>> one_per_query_head(torch.zeros(1, 2, 5, 3), heads=6).shape
    torch.Size([1, 6, 5, 3])
    """
    return k_BHKW.repeat_interleave(heads // k_BHKW.shape[1], dim=1)


class ReferenceAttention:
    """The formula as a backend; takes every call and is always last."""

    name = "reference"

    def refusals(self, call: AttentionCall) -> list[str]:  # noqa: ARG002 - never refuses
        """None."""
        return []

    def attend(
        self,
        q_BHQW: Tensor,
        k_BHKW: Tensor,
        v_BHKW: Tensor,
        keep: Keep,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read ``v`` by the weights."""
        weights_BHQK = attention_weights(q_BHQW, k_BHKW, as_matrix(keep), bias_BHQK)
        return weights_BHQK @ one_per_query_head(v_BHKW, q_BHQW.shape[1])
