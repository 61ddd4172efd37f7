"""Mixture of experts in the place of a feed-forward block; its residual output starts at zero.

N flattened tokens (all leading dimensions of the input), D width, E experts, F hidden width (in
``up_EDF`` twice: gate and value), J chosen experts, K blocks of Q places. Shazeer et al. 2017
(Outrageously Large Neural Networks), section 2, with SwiGLU experts. Small batches may be slower
than one dense block: the work saved is less than what sorting and copying weights cost.
"""

import math
from typing import Literal, Self, assert_never

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from nexus_model.layers.dropout import Dropout
from nexus_model.layers.experts.dispatch import find_places, from_blocks, to_blocks
from nexus_model.layers.experts.product import product_call, select_product
from nexus_model.layers.experts.router import Router, Routing
from nexus_model.layers.tap import Tap
from nexus_model.schema import Record


class ExpertsConfig(Record):
    """How many experts there are and how many of them compute a token.

    >>> ExpertsConfig(experts=8).chosen
    2
    """

    experts: int = Field(ge=2, description="feed-forward networks to choose from")
    chosen: int = Field(2, ge=1, description="experts that compute one token, in the sparse form")
    form: Literal["sparse", "soft"] = Field(
        "sparse", description="soft: every expert computes every token, weighted by probability"
    )

    @model_validator(mode="after")
    def _enough_experts(self) -> Self:
        if self.chosen > self.experts:
            raise ValueError(
                f"chosen must be at most experts, got {self.chosen} of {self.experts} experts"
            )
        return self


class MixtureOfExperts(nn.Module):
    """``x + experts(norm(x))``; any leading dimensions; ``tap_routing`` passes on the Routing.

    >>> MixtureOfExperts(8, 16, ExpertsConfig(experts=4))(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self, width: int, hidden: int, config: ExpertsConfig, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.form = config.form
        self.norm = nn.LayerNorm(width)
        chosen = config.chosen if config.form == "sparse" else config.experts
        self.router = Router(width, config.experts, chosen)
        self.tap_routing = Tap()
        self.up_EDF = nn.Parameter(torch.empty(config.experts, width, 2 * hidden))
        self.dropout = Dropout(dropout)
        self.down_EFD = nn.Parameter(torch.empty(config.experts, hidden, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the identity; experts differ from the first step."""
        bound = 1 / math.sqrt(self.up_EDF.shape[1])
        nn.init.uniform_(self.up_EDF, -bound, bound)
        nn.init.zeros_(self.down_EFD)

    def forward(self, x: Tensor) -> Tensor:
        tokens_ND = self.norm(x).reshape(-1, x.shape[-1])
        routing = self.tap_routing(self.router(tokens_ND))
        match self.form:
            case "sparse":
                added_ND = self._sparse(tokens_ND, routing)
            case "soft":
                added_ND = self._soft(tokens_ND, routing)
            case _ as unreachable:
                assert_never(unreachable)
        return x + added_ND.view_as(x).to(x.dtype)

    def _hidden(self, gate_and_up: Tensor) -> Tensor:
        gate, up = gate_and_up.chunk(2, dim=-1)
        return self.dropout(F.silu(gate) * up)

    def _sparse(self, tokens_ND: Tensor, routing: Routing) -> Tensor:
        experts = len(self.up_EDF)
        product, _ = select_product(product_call(tokens_ND, self.up_EDF))
        size = product.block(routing.expert_NJ.numel(), experts)
        places = find_places(routing.expert_NJ, experts, size)
        blocks_KQD = to_blocks(tokens_ND, places)
        hidden_KQF = self._hidden(product.multiply(blocks_KQD, self.up_EDF, places))
        read_NJD = from_blocks(product.multiply(hidden_KQF, self.down_EFD, places), places)
        return (read_NJD * routing.weight_NJ[..., None]).sum(1)

    def _soft(self, tokens_ND: Tensor, routing: Routing) -> Tensor:
        hidden_NEF = self._hidden(torch.einsum("nd,edf->nef", tokens_ND, self.up_EDF))
        weighted_NEF = hidden_NEF * routing.probs_NE[..., None].to(hidden_NEF.dtype)
        return torch.einsum("nef,efd->nd", weighted_NEF, self.down_EFD)
