"""Multi-head attention: four projections around one call through the seam.

B batch, Q queries, K keys, D width, H heads, W head width.
"""

from torch import Tensor, nn

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.select import select
from nexus_model.layers.shape import check_shape
from nexus_model.layers.tap import Tap


class MultiHeadAttention(nn.Module):
    """Queries read keys' values (Vaswani et al. 2017, section 3.2.2); the output starts at zero.

    >>> import torch
    >>> reader = MultiHeadAttention(width=8, heads=2)
    >>> x, keep = torch.ones(1, 3, 8), torch.ones(1, 3, 3, dtype=torch.bool)
    >>> reader(x, x, keep).abs().sum().item()
    0.0
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        self.width, self.heads = width, heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.tap_q, self.tap_k = Tap(), Tap()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start by adding nothing."""
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def keys_and_values(self, offered_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """Project offered rows once, for as many reads as wanted: two ``[B, H, K, W]``."""
        check_shape(offered_BKD, "B K D", D=self.width)
        return self._split(self.key(offered_BKD)), self._split(self.value(offered_BKD))

    def read(
        self,
        queries_BQD: Tensor,
        offered: tuple[Tensor, Tensor],
        keep_BQK: Tensor,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read projected rows; ``[B, Q, D]``, zeros for a query that keeps nothing."""
        k_BHKW, v_BHKW = offered
        q_BHQW = self.tap_q(self._split(self.query(queries_BQD)))
        call = AttentionCall(
            q_BHQW.dtype, q_BHQW.device.type, q_BHQW.shape[-1], has_bias=bias_BHQK is not None
        )
        backend, _ = select(call)
        read_BHQW = backend.attend(q_BHQW, self.tap_k(k_BHKW), v_BHKW, keep_BQK, bias_BHQK)
        read_BQD = read_BHQW.transpose(1, 2).flatten(2)
        return self.out(read_BQD) * keep_BQK.any(-1, keepdim=True)

    def forward(
        self,
        queries_BQD: Tensor,
        offered_BKD: Tensor,
        keep_BQK: Tensor,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        check_shape(queries_BQD, "B Q D", D=self.width)
        return self.read(queries_BQD, self.keys_and_values(offered_BKD), keep_BQK, bias_BHQK)

    def _split(self, x_BKD: Tensor) -> Tensor:
        return x_BKD.unflatten(-1, (self.heads, -1)).transpose(1, 2)
