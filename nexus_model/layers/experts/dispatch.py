"""Dispatch: tokens stand side by side with the others of their expert, and go back.

N flattened tokens, J chosen experts, E experts, D width, F hidden width, K blocks, Q places of a
block. After Gale et al. 2022 (MegaBlocks), section 4: each expert's tokens fill blocks of equal
size, so that no token is dropped and the work follows J, not E. DIFFERS: each block multiplies
its expert's weights in one batched product, unless a kernel is there that multiplies groups of
blocks (``product.py``). The number of blocks is a bound known from the shapes alone: nothing is
read back from the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor

LARGEST_BLOCK, SMALLEST_BLOCK = 256, 8
BLOCKS_PER_EXPERT = 16  # if all are equally busy: at most one place in 17 is left empty


class Places(NamedTuple):
    """Where each choice of each token stands among the places of all blocks; whose each block is.

    Every place is used at most once; blocks that nobody needs belong to the last expert.
    """

    place_NJ: Tensor
    expert_K: Tensor
    size: int


def block_size(choices: int, experts: int) -> int:
    """Places of a block: larger blocks copy fewer weights, smaller ones leave fewer places empty.

    >>> block_size(16384, 8), block_size(4096, 8), block_size(3, 8)
    (128, 32, 8)
    """
    return max(SMALLEST_BLOCK, min(LARGEST_BLOCK, choices // (BLOCKS_PER_EXPERT * experts)))


def find_places(expert_NJ: Tensor, experts: int, size: int | None = None) -> Places:
    """Give every choice a place in a block of its expert, in the order of the tokens.

    Blocks have ``size`` places, or as many as suit one batched product.

    >>> places = find_places(torch.tensor([[1], [0], [1]]), experts=2)
    >>> places.place_NJ.flatten().tolist(), places.expert_K.tolist(), places.size
    ([8, 0, 9], [0, 1], 8)
    """
    flat_N = expert_NJ.flatten()  # N = tokens * J
    choices = len(flat_N)
    size = block_size(choices, experts) if size is None else size
    blocks = min(choices, experts + (choices - experts) // size)
    count_E = flat_N.new_zeros(experts).scatter_add(0, flat_N, torch.ones_like(flat_N))
    filled_E = (count_E + size - 1) // size
    end_E = filled_E.cumsum(0)
    # The n-th of all choices, sorted by expert, is the (n - before)-th of its own expert.
    shift_E = (end_E - filled_E) * size - (count_E.cumsum(0) - count_E)
    order_N = flat_N.argsort(stable=True)
    place_N = torch.arange(choices, device=flat_N.device) + shift_E[flat_N[order_N]]
    place_NJ = torch.empty_like(place_N).scatter(0, order_N, place_N).view_as(expert_NJ)
    block_K = torch.arange(blocks, device=flat_N.device)
    expert_K = (block_K[:, None] >= end_E[:-1]).sum(1)
    return Places(place_NJ, expert_K, size)


def to_blocks(tokens_ND: Tensor, places: Places) -> Tensor:
    """Copy each token to its J places: ``[N, D] -> [K, Q, D]``; empty places are zero."""
    width, chosen = tokens_ND.shape[1], places.place_NJ.shape[1]
    copies_ND = tokens_ND[:, None].expand(-1, chosen, -1).reshape(-1, width)  # N = tokens * J
    empty_ND = tokens_ND.new_zeros(len(places.expert_K) * places.size, width)
    filled_ND = empty_ND.index_copy(0, places.place_NJ.flatten(), copies_ND)
    return filled_ND.view(-1, places.size, width)


def from_blocks(blocks_KQD: Tensor, places: Places) -> Tensor:
    """What stands at each token's places: ``[K, Q, D] -> [N, J, D]``."""
    return blocks_KQD.flatten(0, 1)[places.place_NJ]


def multiply(blocks_KQD: Tensor, weight_EDF: Tensor, places: Places) -> Tensor:
    """Each block times the weights of its expert: ``[K, Q, D] @ [E, D, F] -> [K, Q, F]``."""
    return torch.bmm(blocks_KQD, weight_EDF.index_select(0, places.expert_K))
