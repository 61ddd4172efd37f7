"""Weight matrices as INT8 with one bfloat16 scale per output channel; dequantised when loaded.

It makes the file about a quarter of its size. It does not make anything faster: the arithmetic is
that of float32 weights. ``dequantize_weights`` reads every stored form, INT4 and bitmaps too.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nexus_model.optimize.int4 import widen_int4
from nexus_model.optimize.parts import Parts, put_together, side_by_side
from nexus_model.optimize.sparse import unpack_zeros
from nexus_model.schema import ArtifactError

_VALUES, _SCALE = ".int8", ".scale"
_LARGEST = 127


def stays_float(name: str) -> bool:
    """Whether a model's weight is better left alone: in the head and in routers of experts is
    little to gain, and a choice between two that are nearly as good turns over at once.

    >>> stays_float("head.out.weight"), stays_float("fuse.project.weight")
    (True, False)
    >>> stays_float("refine.blocks.0.think.router.weight_ED")
    True
    """
    return any(part in name for part in ("head.", "router.", "peers."))


def quantize_weights(
    state: Mapping[str, Tensor], *, keep: Callable[[str], bool]
) -> dict[str, Tensor]:
    """Each float matrix of two rows or more becomes ``<name>.int8`` and ``<name>.scale``.

    Other float tensors, and those whose name ``keep`` is true for, become float32; integers and
    booleans stay. The error of a weight is at most half its row's scale.

    Raises:
        ValueError: a weight is not finite, or two names would collide.
    """

    def parts(name: str, tensor: Tensor) -> Parts:
        quantised = _is_matrix(tensor) and not keep(name)
        return _quantize(name, tensor) if quantised else {name: _plain(tensor)}

    return side_by_side(((name, parts(name, tensor)) for name, tensor in state.items()), _VALUES)


def dequantize_weights(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 state with its original names, whatever form each matrix is stored in.

    Raises:
        ArtifactError: a matrix lacks a part, has one of another shape or type, or is given twice.
    """
    packed = widen_int4(unpack_zeros(packed))
    state = put_together(packed, (_VALUES, _SCALE), _dequantize)
    return {name: _plain(tensor) for name, tensor in state.items()}


def matrix_bytes(state: Mapping[str, Tensor]) -> int:
    """Bytes of the float matrices, quantised ones counted with their scales."""
    scales = {name.removesuffix(_VALUES) + _SCALE for name in state if name.endswith(_VALUES)}
    return sum(
        tensor.nbytes
        for name, tensor in state.items()
        if _is_matrix(tensor) or name.endswith(_VALUES) or name in scales
    )


def _is_matrix(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim == 2 and len(tensor) >= 2


def _plain(tensor: Tensor) -> Tensor:
    kept = tensor.detach().to("cpu", copy=True).contiguous()
    return kept.float() if kept.is_floating_point() else kept


def _quantize(name: str, weight: Tensor) -> dict[str, Tensor]:
    exact = weight.detach().cpu().double()
    if not torch.isfinite(exact).all():
        raise ValueError(f"weights must be finite to be quantised, {name!r} are not")
    largest = exact.abs().amax(dim=1) if exact.shape[1] else exact.new_zeros(len(exact))
    # The scale that is stored is the scale that is used; a row of zeros needs some scale.
    scale = (largest / _LARGEST).clamp_min(torch.finfo(torch.bfloat16).tiny).to(torch.bfloat16)
    steps = (exact / scale.double()[:, None]).round().clamp(-_LARGEST, _LARGEST)
    return {name + _VALUES: steps.to(torch.int8), name + _SCALE: scale}


def _dequantize(name: str, packed: Mapping[str, Tensor]) -> Tensor:
    values, scale = packed[name + _VALUES], packed.get(name + _SCALE)
    # A vector would become a matrix of its length squared.
    wrong = values.dtype != torch.int8 or values.ndim != 2
    if scale is None or wrong or scale.shape != values.shape[:1]:
        told = "no scale" if scale is None else f"a scale of shape {tuple(scale.shape)}"
        raise ArtifactError(f"{name}: quantised {tuple(values.shape)} {values.dtype} with {told}")
    return values.float() * scale.float()[:, None]
