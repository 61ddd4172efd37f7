"""Padded samples without their padding, end to end, as fused kernels for unequal lengths want.

B batch, H heads, Q queries, K keys, L queries or keys, W head width, N kept queries or keys of all
samples. Packing asks the device how many are kept, one synchronisation per call; rows that stand
one after another already are taken as they are.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.keep import Keep, Padding, Segments

PackedKernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]
_WIDEST = 256


def refusals_of_packed_kernels(call: AttentionCall) -> list[str]:
    """What every fused kernel for unequal lengths refuses, whoever wrote it."""
    facts = {
        f"no kernel on {call.device}": call.device != "cuda",
        f"no kernel for {call.dtype}": call.dtype not in {torch.float16, torch.bfloat16},
        "takes no bias": call.has_bias,
        "takes no mask but padding": call.mask not in {"padding", "segments"},
        f"head width {call.head_width} is no multiple of 8": call.head_width % 8 != 0,
        f"head width {call.head_width} is above {_WIDEST}": call.head_width > _WIDEST,
        "the GPU is older than compute capability 8.0": call.device == "cuda" and _is_old(),
    }
    return [reason for reason, holds in facts.items() if holds]


def attend_packed(
    kernel: PackedKernel, q_BHQW: Tensor, k_BHKW: Tensor, v_BHKW: Tensor, keep: Keep
) -> Tensor:
    """Run a kernel on the kept queries and keys alone; zeros elsewhere.

    The kernel is called with ``q, k, v [N, H, W]``, where the samples of each start (int32, one
    more than samples), and bounds of the longest.

    Raises:
        ValueError: the mask is neither padding nor segments.
    """
    match keep:
        case Padding():
            return _attend_padded(kernel, q_BHQW, k_BHKW, v_BHKW, keep)
        case Segments():
            return _attend_segments(kernel, q_BHQW, k_BHKW, v_BHKW, keep)
        case _:
            raise ValueError("a packed kernel must not be asked what it refuses: padding only")


def _attend_padded(
    kernel: PackedKernel, q_BHQW: Tensor, k_BHKW: Tensor, v_BHKW: Tensor, keep: Padding
) -> Tensor:
    keep_BQ, keep_BK = keep.some_BQ1[..., 0], keep.offered_BK
    q_NHW = q_BHQW.transpose(1, 2)[keep_BQ]
    k_NHW, v_NHW = (x_BHKW.transpose(1, 2)[keep_BK] for x_BHKW in (k_BHKW, v_BHKW))
    found_BQHW = torch.zeros_like(q_BHQW.transpose(1, 2))
    if len(q_NHW):
        lengths = q_BHQW.shape[2], k_BHKW.shape[2]
        read_NHW = kernel(q_NHW, k_NHW, v_NHW, starts_of(keep_BQ), starts_of(keep_BK), *lengths)
        found_BQHW = found_BQHW.masked_scatter(keep_BQ[..., None, None], read_NHW)
    return found_BQHW.transpose(1, 2)


def _attend_segments(
    kernel: PackedKernel, q_BHQW: Tensor, k_BHKW: Tensor, v_BHKW: Tensor, keep: Segments
) -> Tensor:
    if not keep.rows:
        return q_BHQW
    # Kernels want rows of all heads side by side; a rotation may have left them head by head.
    q_NHW, k_NHW, v_NHW = (x[0].transpose(0, 1).contiguous() for x in (q_BHQW, k_BHKW, v_BHKW))
    starts, longest = keep.starts_B, keep.longest
    read_NHW = kernel(q_NHW, k_NHW, v_NHW, starts, starts, longest, longest)
    return read_NHW.transpose(0, 1)[None]


def starts_of(keep_BL: Tensor) -> Tensor:
    """Int32, one more than samples: where the kept rows of each sample start.

    >>> starts_of(torch.tensor([[True, True], [False, True]])).tolist()
    [0, 2, 3]
    """
    return F.pad(keep_BL.sum(1).cumsum(0), (1, 0)).to(torch.int32)


def _is_old() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0)
