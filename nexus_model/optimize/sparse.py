"""Matrices with zeros as a bit per place and the values that are not zero.

``<name>.bitmap`` is uint8 of rows and an eighth as many columns, the first column in the lowest
bit; ``<name>.kept`` holds the values row after row, of whatever type the matrix was;
``<name>.width`` is there where the number of columns is no multiple of eight. A float32 matrix of
which a share ``s`` is left takes ``s + 1/32`` of its bytes.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nexus_model.optimize.parts import Parts, put_together, side_by_side
from nexus_model.schema import ArtifactError

BITMAP, _KEPT, _WIDTH = ".bitmap", ".kept", ".width"


def pack_zeros(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each matrix that becomes smaller so as a bitmap and its values; the rest as it is.

    Raises:
        ValueError: two names would collide.
    """

    def parts(name: str, tensor: Tensor) -> Parts:
        found = _packed(name, tensor.detach().cpu()) if tensor.ndim == 2 else {}
        smaller = found and sum(part.nbytes for part in found.values()) < tensor.nbytes
        return found if smaller else {name: tensor}

    return side_by_side(((name, parts(name, tensor)) for name, tensor in state.items()), BITMAP)


def unpack_zeros(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrices as they were, zeros in place.

    Raises:
        ArtifactError: a bitmap has no values, another number of them, or is given twice.
    """
    return put_together(packed, (BITMAP, _KEPT, _WIDTH), _unpacked)


def _packed(name: str, matrix: Tensor) -> dict[str, Tensor]:
    kept = matrix != 0
    bits = torch.from_numpy(np.packbits(kept.numpy(), axis=1, bitorder="little"))
    parts = {name + BITMAP: bits, name + _KEPT: matrix[kept]}
    if matrix.shape[1] % 8:
        parts[name + _WIDTH] = torch.tensor([matrix.shape[1]])
    return parts


def _unpacked(name: str, packed: Mapping[str, Tensor]) -> Tensor:
    bits, values = packed[name + BITMAP], packed.get(name + _KEPT)
    if bits.dtype != torch.uint8 or bits.ndim != 2:
        raise ArtifactError(f"{name}: a bitmap must be uint8 of two dimensions, got {bits.dtype}")
    width = _width(name, 8 * bits.shape[1], packed.get(name + _WIDTH))
    every = np.unpackbits(bits.numpy(), axis=1, bitorder="little")
    kept = torch.from_numpy(every[:, :width].astype(bool))
    count = int(kept.sum())
    if values is None or values.ndim != 1 or len(values) != count or every[:, width:].any():
        told = "no values" if values is None else f"values of shape {tuple(values.shape)}"
        raise ArtifactError(f"{name}: a bitmap of {count} values has {told}")
    matrix = values.new_zeros(len(bits), width)
    matrix[kept] = values
    return matrix


def _width(name: str, places: int, stated: Tensor | None) -> int:
    if stated is None:
        return places
    whole = stated.dtype == torch.int64 and stated.numel() == 1
    if not whole or not places - 8 < int(stated) < places:
        raise ArtifactError(f"{name}: width must be a little less than {places}")
    return int(stated)
