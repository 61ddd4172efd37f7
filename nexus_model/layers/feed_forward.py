"""Feed-forward block whose residual output starts at zero.

D width, F hidden width. SwiGLU (Shazeer 2020, GLU Variants Improve Transformer, eq. 6) unless
another activation is asked for; plain ones get half as many hidden features more, so that every
block of a size has as many weights.
"""

from pydantic import Field
from torch import Tensor, nn

from nexus_model.layers.activation import Activation, activate
from nexus_model.layers.dropout import Dropout
from nexus_model.layers.initialise import Initialiser, initialise
from nexus_model.layers.norm import NormKind, build_norm
from nexus_model.layers.stochastic_depth import StochasticDepth
from nexus_model.schema import Record


class FeedForwardConfig(Record):
    """What a feed-forward block is made of."""

    activation: Activation = Activation.SWIGLU
    norm: NormKind = Field(NormKind.LAYER, description="of the block's input")
    initialiser: Initialiser = Field(Initialiser.DEFAULT, description="of its first matrix")
    stochastic_depth: float = Field(
        0.0, ge=0, lt=1, description="share of samples that skip the block in training"
    )
    hidden_share: float = Field(
        1.0, gt=0, le=1, description="of the usual hidden features; pruning leaves fewer"
    )


USUAL = FeedForwardConfig()


class FeedForward(nn.Module):
    """``x + down(dropout(activation(up(norm(x)))))``; any leading dimensions.

    >>> import torch
    >>> FeedForward(8, 16)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        dropout: float = 0.0,
        config: FeedForwardConfig = USUAL,
    ) -> None:
        super().__init__()
        self.config = config
        gated = config.activation.is_gated
        inner = max(1, round((hidden if gated else hidden * 3 // 2) * config.hidden_share))
        self.norm = build_norm(config.norm, width)
        self.up = nn.Linear(width, 2 * inner if gated else inner)
        self.dropout = Dropout(dropout)
        self.down = nn.Linear(inner, width)
        self.skip = StochasticDepth(config.stochastic_depth)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as the identity."""
        if self.config.initialiser is not Initialiser.DEFAULT:
            initialise(self.up.weight, self.config.initialiser)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        inner = activate(self.up(self.norm(x)), self.config.activation)
        return x + self.skip(self.down(self.dropout(inner)))
