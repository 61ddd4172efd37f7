"""INT8 storage of a model's weights, and what it saves and costs."""

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.optimize.int8 import dequantize_weights, quantize_weights, stays_float
from nexus_model.schema import Record
from nexus_model.train.trainer import Optimization


class Quantization(Record):
    """Bytes of the weights when stored, and how far a weight moved at most."""

    method: Literal["quantization"] = "quantization"
    float32_bytes: int
    int8_bytes: int
    largest_change: float

    @property
    def saved(self) -> float:
        """Share of the bytes that are saved."""
        return 1 - self.int8_bytes / self.float32_bytes


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are stored: matrices as INT8, but not those of the head."""
    return quantize_weights(state, keep=stays_float)


def quantization(state: Mapping[str, Tensor], small: Mapping[str, Tensor]) -> Quantization:
    """What became of float32 weights."""
    exact = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    wide = dequantize_weights(small)
    changes = [
        (exact[name] - wide[name]).abs().max()
        for name in exact
        if exact[name].is_floating_point() and exact[name].numel()
    ]
    return Quantization(
        float32_bytes=len(save(exact)),
        int8_bytes=len(save(dict(small))),
        largest_change=float(torch.stack(changes).max()) if changes else 0.0,
    )


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """A module's weights as a file holds them: INT8 again if its optimization made them so."""
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return packed(state) if is_int8(getattr(model, "optimization", None)) else state


def is_int8(optimization: Any) -> bool:
    """Whether an optimization's values are those of INT8."""
    if isinstance(optimization, Optimization):
        return optimization.taken.form == "int8"
    return isinstance(optimization, Quantization)


def widened(artifact: NexusFlowModelArtifact) -> NexusFlowModelArtifact:
    """The artifact with float32 weights, ready to be built."""
    wide = copy.copy(artifact)
    wide.weights = dequantize_weights(artifact.weights)
    return wide
