"""The flash-attn package, where it is installed and works; the only file that imports it.

B batch, H heads, Q queries, K keys, W head width.
Dao 2023 (FlashAttention-2). An installed package without its compiled part raises ImportError or
OSError on import, another version lacks the function: reasons to refuse, not errors.
"""

import importlib

from torch import Tensor

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.keep import Keep, Padding, Segments
from nexus_model.layers.attention.packing import (
    PackedKernel,
    attend_packed,
    refusals_of_packed_kernels,
)


def find_kernel() -> PackedKernel | str:
    """The package's kernel for unequal lengths, or why there is none."""
    try:
        return importlib.import_module("flash_attn").flash_attn_varlen_func
    except (ImportError, OSError, AttributeError) as error:
        return f"flash-attn cannot be imported: {type(error).__name__}"


class FlashAttention:
    """Fused kernel of the flash-attn package: 16 bit floats on a GPU, padding masks, no bias."""

    name = "flash_attn"

    def __init__(self) -> None:
        self.kernel = find_kernel()

    def refusals(self, call: AttentionCall) -> list[str]:
        """The package's absence, then what its kernels cannot do."""
        absent = [self.kernel] if isinstance(self.kernel, str) else []
        return absent + refusals_of_packed_kernels(call)

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
            ValueError: the call was refused: a bias, no such mask, or the package is absent.
        """
        if (
            isinstance(self.kernel, str)
            or bias_BHQK is not None
            or not isinstance(keep, Padding | Segments)
        ):
            raise ValueError("flash_attn must not be asked what it refuses, got such a call")
        return attend_packed(self.kernel, q_BHQW, k_BHKW, v_BHKW, keep)
