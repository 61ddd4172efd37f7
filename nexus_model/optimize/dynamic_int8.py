"""Linear layers whose arithmetic is that of INT8: inputs are rounded as they come.

N flattened tokens, F features read, Y features written. Weights have a scale per output, inputs
one per token (Dettmers et al. 2022, LLM.int8(), section 2.1.1). Sums are exact, in INT32. Eager
torch spends more on rounding than it saves: smaller, not faster; the ONNX form is for speed.
"""

import copy

import torch
from torch import Tensor, nn

from nexus_model.model import NexusFormer
from nexus_model.optimize.int8 import quantize_weights, stays_float

_LARGEST = 127


class DynamicInt8Linear(nn.Module):
    """``x W^T + b`` with both factors in INT8."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        packed = quantize_weights({"w": linear.weight}, keep=lambda _: False)
        self.register_buffer("weight_FY", packed["w.int8"].T.contiguous())
        self.register_buffer("scale_Y", packed["w.scale"].float())
        self.weight = linear.weight
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        tokens_NF = x.flatten(0, -2)
        largest_N1 = tokens_NF.abs().amax(dim=1, keepdim=True)
        scale_N1 = (largest_N1 / _LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        steps_NF = (tokens_NF / scale_N1).round().to(torch.int8)
        # torch has no public product of INT8 matrices.
        sums_NY = torch.ops.aten._int_mm(steps_NF, self.get_buffer("weight_FY"))  # noqa: SLF001
        read_NY = sums_NY.float() * scale_N1 * self.get_buffer("scale_Y")
        if self.bias is not None:
            read_NY = read_NY + self.bias
        return read_NY.unflatten(0, x.shape[:-1])


def with_dynamic_int8(model: NexusFormer) -> NexusFormer:
    """A copy whose linear layers compute in INT8, but for those of the head and of routers."""
    smaller = copy.deepcopy(model).eval()
    for name, module in list(smaller.named_modules()):
        for part, child in list(module.named_children()):
            wide = isinstance(child, nn.Linear) and child.out_features > 1 and child.in_features
            if wide and not stays_float(f"{name}.{part}."):
                setattr(module, part, DynamicInt8Linear(child))
    return smaller
