"""Histories without their padding, end to end, from the first block of an encoder to its last.

B samples, L steps, D width, N kept rows of all samples one after another. What a block does to rows
one by one then costs what there is, not what the longest history is long.
"""

from typing import NamedTuple

from torch import Tensor

from nexus_model.layers.attention.keep import Segments
from nexus_model.layers.attention.packing import starts_of


class PackedRows(NamedTuple):
    """Kept rows, their ages, whose they are, and their places among ``B * L``."""

    rows_ND: Tensor
    age_N: Tensor
    histories: Segments
    place_N: Tensor


def packed_rows(rows_BLD: Tensor, age_BL: Tensor, keep_BL: Tensor) -> PackedRows:
    """Leave the padding out; asks the device how many rows there are.

    >>> import torch
    >>> keep_BL = torch.tensor([[True, False], [True, True]])
    >>> packed = packed_rows(torch.arange(4.0).view(2, 2, 1), torch.zeros(2, 2), keep_BL)
    >>> packed.rows_ND.flatten().tolist(), packed.histories.starts_B.tolist()
    ([0.0, 2.0, 3.0], [0, 1, 3])
    """
    [place_N] = keep_BL.flatten().nonzero(as_tuple=True)
    rows_ND = rows_BLD.flatten(0, 1).index_select(0, place_N)
    histories = Segments(starts_of(keep_BL), len(place_N), keep_BL.shape[1])
    return PackedRows(rows_ND, age_BL.flatten().index_select(0, place_N), histories, place_N)


def padded_rows(rows_ND: Tensor, place_N: Tensor, samples: int, steps: int) -> Tensor:
    """``[B, L, D]`` again, zeros in the padding."""
    empty_ND = rows_ND.new_zeros(samples * steps, rows_ND.shape[1])
    return empty_ND.index_copy(0, place_N, rows_ND).view(samples, steps, -1)
