"""Weight matrices as INT4, two per byte, with one scale per group of 32 columns of a row.

``<name>.int4`` is uint8 of rows and half as many columns, the even column in the low half byte;
``<name>.scales`` is bfloat16 of rows and groups; ``<name>.columns`` is there where the number of
columns is odd. Groups as in Frantar et al. 2023 (GPTQ), section 4. DIFFERS: rounded to nearest.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nexus_model.optimize.parts import Parts, put_together, side_by_side
from nexus_model.schema import ArtifactError

GROUP = 32
VALUES, _SCALES, _COLUMNS = ".int4", ".scales", ".columns"
_LARGEST, _SHIFT = 7, 8


def quantize_to_int4(
    state: Mapping[str, Tensor], *, keep: Callable[[str], bool]
) -> dict[str, Tensor]:
    """Each float matrix of two rows or more as INT4; what else there is stays as it is.

    The error of a weight is at most half its group's scale, and 2 ** -8 of its size.

    Raises:
        ValueError: a weight is not finite, or two names would collide.
    """

    def parts(name: str, tensor: Tensor) -> Parts:
        whole = tensor.is_floating_point() and tensor.ndim == 2 and tensor.shape[0] > 1
        if whole and tensor.shape[1] and not keep(name):
            return _packed(name, tensor)
        return {name: tensor.detach().cpu()}

    return side_by_side(((name, parts(name, tensor)) for name, tensor in state.items()), VALUES)


def widen_int4(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """INT4 matrices as float32 under their own names; what is not INT4 stays as it is.

    Raises:
        ArtifactError: a matrix has no scales, some of another shape or type, or is given twice.
    """
    return put_together(packed, (VALUES, _SCALES, _COLUMNS), _widened)


def _packed(name: str, weight: Tensor) -> dict[str, Tensor]:
    exact = weight.detach().cpu().double()
    if not torch.isfinite(exact).all():
        raise ValueError(f"weights must be finite to be quantised, {name!r} are not")
    columns = exact.shape[1]
    padded = torch.nn.functional.pad(exact, (0, -columns % GROUP)).unflatten(1, (-1, GROUP))
    largest = padded.abs().amax(dim=2)
    tiny = torch.finfo(torch.bfloat16).tiny
    # The scale that is stored is the scale that is used; a group of zeros needs some scale.
    scales = (largest / _LARGEST).clamp_min(tiny).to(torch.bfloat16)
    steps = (padded / scales.double()[..., None]).round().clamp(-_LARGEST, _LARGEST)
    stored = (steps.flatten(1)[:, : columns + columns % 2] + _SHIFT).to(torch.uint8)
    found = {
        name + VALUES: stored[:, 0::2] | (stored[:, 1::2] << 4),
        name + _SCALES: scales,
    }
    if columns % 2:
        found[name + _COLUMNS] = torch.tensor([columns])
    return found


def _widened(name: str, packed: Mapping[str, Tensor]) -> Tensor:
    halves, scales = packed[name + VALUES], packed.get(name + _SCALES)
    if halves.dtype != torch.uint8 or halves.ndim != 2:
        raise ArtifactError(f"{name}: INT4 must be uint8 of two dimensions, got {halves.dtype}")
    columns = _columns(name, 2 * halves.shape[1], packed.get(name + _COLUMNS))
    groups = -(-columns // GROUP)
    if scales is None or scales.dtype != torch.bfloat16 or scales.shape != (len(halves), groups):
        told = "no scales" if scales is None else f"{scales.dtype} scales {tuple(scales.shape)}"
        raise ArtifactError(f"{name}: INT4 of {len(halves)} rows, {groups} groups has {told}")
    steps = torch.stack([halves & 15, halves >> 4], dim=2).flatten(1)[:, :columns]
    wide = scales.float().repeat_interleave(GROUP, dim=1)[:, :columns]
    return (steps.float() - _SHIFT) * wide


def _columns(name: str, places: int, stated: Tensor | None) -> int:
    if stated is None:
        return places
    whole = stated.dtype == torch.int64 and stated.numel() == 1
    if not whole or int(stated) != places - 1:
        raise ArtifactError(f"{name}: columns must be one less than {places}")
    return places - 1
