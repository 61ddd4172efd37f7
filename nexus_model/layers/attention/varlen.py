"""Torch's own fused attention for unequal lengths; the only file that imports it.

B batch, H heads, Q queries, K keys, W head width, N kept queries or keys of all samples.
Importing it takes longer than the rest of the model, so it is looked for when a call could use it.
"""

import importlib
from functools import cached_property

from torch import Tensor

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.keep import Keep, Padding, Segments
from nexus_model.layers.attention.packing import attend_packed, refusals_of_packed_kernels


def is_present() -> bool:
    """Whether this torch has the kernel's module."""
    try:
        importlib.import_module("torch.nn.attention.varlen")
    except (ImportError, OSError):
        return False
    return True


class VarlenAttention:
    """Torch's kernel for packed samples: 16 bit floats on a GPU, padding masks, no bias."""

    name = "torch_varlen"

    @cached_property
    def absent(self) -> list[str]:
        """Why it cannot be had, if so."""
        return [] if is_present() else ["this torch has no varlen attention"]

    def refusals(self, call: AttentionCall) -> list[str]:
        """What the kernel cannot do; of a call that it could take, a torch without it."""
        return refusals_of_packed_kernels(call) or self.absent

    def attend(
        self,
        q_BHQW: Tensor,
        k_BHKW: Tensor,
        v_BHKW: Tensor,
        keep: Keep,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read ``v`` without ever reading padding.

        Raises:
            ValueError: the call was refused: a bias, or another mask.
        """
        if bias_BHQK is not None or not isinstance(keep, Padding | Segments):
            raise ValueError("torch_varlen must not be asked what it refuses, got such a call")
        return attend_packed(_kernel, q_BHQW, k_BHKW, v_BHKW, keep)


def _kernel(
    q_NHW: Tensor,
    k_NHW: Tensor,
    v_NHW: Tensor,
    starts_q: Tensor,
    starts_k: Tensor,
    longest_q: int,
    longest_k: int,
) -> Tensor:
    varlen = importlib.import_module("torch.nn.attention.varlen")
    grouped = q_NHW.shape[1] != k_NHW.shape[1]
    return varlen.varlen_attn(
        q_NHW, k_NHW, v_NHW, starts_q, starts_k, longest_q, longest_k, enable_gqa=grouped
    )
