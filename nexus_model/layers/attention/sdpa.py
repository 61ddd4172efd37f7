"""Torch's fused scaled dot product attention, on padded keys with a keep mask.

B batch, H heads, Q queries, K keys, W head width. Attention dropout stays 0: with it torch falls
back to the slow kernel on CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.keep import Keep, Padding, as_matrix, some_kept


class SdpaAttention:
    """Fused kernel for 32 and 16 bit floats."""

    name = "sdpa"

    def refusals(self, call: AttentionCall) -> list[str]:
        """float64 is left to the reference, which is exact and used to judge this backend."""
        return ["float64 goes to the reference"] if call.dtype is torch.float64 else []

    def attend(
        self,
        q_BHQW: Tensor,
        k_BHKW: Tensor,
        v_BHKW: Tensor,
        keep: Keep,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read ``v``; a query that keeps nothing is left unmasked and zeroed after."""
        grouped = q_BHQW.shape[1] != k_BHKW.shape[1]
        some_BQ1 = some_kept(keep)
        if some_BQ1 is None:
            bias = None if bias_BHQK is None else bias_BHQK.to(q_BHQW.dtype)
            return F.scaled_dot_product_attention(
                q_BHQW, k_BHKW, v_BHKW, attn_mask=bias, enable_gqa=grouped
            )
        mask = _readable(keep)
        if bias_BHQK is not None:
            mask = bias_BHQK.to(q_BHQW.dtype).masked_fill(~mask, -torch.inf)
        read_BHQW = F.scaled_dot_product_attention(
            q_BHQW, k_BHKW, v_BHKW, attn_mask=mask, enable_gqa=grouped
        )
        return read_BHQW * some_BQ1[:, None]


def _readable(keep: Keep) -> Tensor:
    """Bool ``[B, 1, Q or 1, K]`` without an empty row: of padding, one row serves all queries."""
    read_BQK = keep.offered_BK[:, None] if isinstance(keep, Padding) else as_matrix(keep)
    assert read_BQK is not None
    return (read_BQK | ~read_BQK.any(-1, keepdim=True))[:, None]
