"""Products of experts behind one seam: tokens of each expert times that expert's weights.

N flattened tokens, J chosen experts, E experts, D width, F hidden width, K blocks of Q places. The
block product takes everything; the grouped kernel reads each expert's weights once, where they are,
and leaves next to no place empty.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nexus_model.layers.experts.dispatch import SMALLEST_BLOCK, Places, block_size, multiply
from nexus_model.layers.precision import computed_dtype
from nexus_model.layers.seam import Refusal, first_willing

_MAJORS = (9, 10)


class ProductCall(NamedTuple):
    """Geometry of a layer's two products: what is computed in, where, and both widths."""

    dtype: torch.dtype
    device: str
    width: int
    hidden: int


class Product(Protocol):
    """``[K, Q, D] @ [E, D, F] -> [K, Q, F]``, each block by the weights of its expert."""

    name: str

    def refusals(self, call: ProductCall) -> list[str]:
        """Reasons not to take the call; empty if it can."""
        ...

    def block(self, choices: int, experts: int) -> int:
        """Places of a block that suit it."""
        ...

    def multiply(self, blocks_KQD: Tensor, weight_EDF: Tensor, places: Places) -> Tensor:
        """The product."""
        ...


class GroupedProduct:
    """Torch's grouped matrix product, in bfloat16 on GPUs that have the kernel.

    Elsewhere torch multiplies expert by expert and asks the device how many tokens each has, which
    is what blocks are there to avoid. Blocks are as small as the kernel's alignment wants.
    """

    name = "grouped"

    def refusals(self, call: ProductCall) -> list[str]:
        """A torch without it, and what its kernel cannot do."""
        facts = {
            "this torch has no grouped product": not hasattr(F, "grouped_mm"),
            f"no kernel on {call.device}": call.device != "cuda",
            f"no kernel for {call.dtype}": call.dtype is not torch.bfloat16,
            f"width {call.width} is no multiple of 8": call.width % 8 != 0,
            f"hidden width {call.hidden} is no multiple of 8": call.hidden % 8 != 0,
            "no kernel for this GPU's compute capability": call.device == "cuda" and _is_other(),
        }
        return [reason for reason, holds in facts.items() if holds]

    def block(self, choices: int, experts: int) -> int:  # noqa: ARG002 - products are asked alike
        """The least: groups are of any number of blocks."""
        return SMALLEST_BLOCK

    def multiply(self, blocks_KQD: Tensor, weight_EDF: Tensor, places: Places) -> Tensor:
        """One kernel for all experts; no expert's number of tokens leaves the device."""
        if not len(blocks_KQD):
            return multiply(blocks_KQD, weight_EDF, places)
        kind = computed_dtype(blocks_KQD)
        tokens_ND, weight_EDF = blocks_KQD.flatten(0, 1).to(kind), weight_EDF.to(kind)
        end_E = ends_of(places, len(weight_EDF))
        return F.grouped_mm(tokens_ND, weight_EDF, offs=end_E).unflatten(0, blocks_KQD.shape[:2])


class BlockProduct:
    """One batched product of blocks by copies of their experts' weights: any float, any device."""

    name = "blocks"

    def refusals(self, call: ProductCall) -> list[str]:  # noqa: ARG002 - never refuses
        """None."""
        return []

    def block(self, choices: int, experts: int) -> int:
        """Larger where there are more tokens, so that fewer weights are copied."""
        return block_size(choices, experts)

    def multiply(self, blocks_KQD: Tensor, weight_EDF: Tensor, places: Places) -> Tensor:
        """The product."""
        return multiply(blocks_KQD, weight_EDF, places)


PRODUCTS: tuple[Product, ...] = (GroupedProduct(), BlockProduct())


def select_product(call: ProductCall) -> tuple[Product, list[Refusal]]:
    """The first product that does not refuse, and why those before it did.

    >>> product, refused = select_product(ProductCall(torch.float64, "cpu", 8, 16))
    >>> product.name, refused[0].reasons
    ('blocks', ['no kernel on cpu', 'no kernel for torch.float64'])
    """
    product, refused = first_willing(PRODUCTS, call)
    assert product is not None, "the block product refuses nothing"
    return product, refused


def product_call(tokens_ND: Tensor, up_EDF: Tensor) -> ProductCall:
    """What a layer with these tokens and first weights asks for; half of them are the gate."""
    width, twice = up_EDF.shape[1:]
    return ProductCall(computed_dtype(tokens_ND), tokens_ND.device.type, width, twice // 2)


def ends_of(places: Places, experts: int) -> Tensor:
    """Int32 ``[E]``: where the places of each expert end; the last has all that are left.

    >>> ends_of(Places(torch.zeros(1, 1), torch.tensor([0, 0, 2]), 8), experts=4).tolist()
    [16, 16, 24, 24]
    """
    expert_E = torch.arange(experts, device=places.expert_K.device)
    blocks_E = torch.searchsorted(places.expert_K, expert_E, right=True)
    return (blocks_E * places.size).to(torch.int32)


def _is_other() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] not in _MAJORS
