"""Multi-head attention: four projections around one call through the seam.

B batch, Q queries, K keys, D width, H heads, W head width.
Vaswani et al. 2017, section 3.2.2; fewer heads of keys than of queries as in Ainslie et al. 2023
(GQA), section 2.2.
"""

from torch import Tensor, nn

from nexus_model.layers.attention.call import AttentionCall
from nexus_model.layers.attention.keep import Keep, mask_kind, some_kept
from nexus_model.layers.attention.select import is_packed, select
from nexus_model.layers.precision import computed_dtype
from nexus_model.layers.shape import check_shape
from nexus_model.layers.tap import Tap


class MultiHeadAttention(nn.Module):
    """Queries read keys' values; the output starts at zero.

    >>> import torch
    >>> reader = MultiHeadAttention(width=8, heads=2)
    >>> x, keep = torch.ones(1, 3, 8), torch.ones(1, 3, 3, dtype=torch.bool)
    >>> reader(x, x, keep).abs().sum().item()
    0.0
    """

    def __init__(self, width: int, heads: int, key_heads: int | None = None) -> None:
        super().__init__()
        key_heads = heads if key_heads is None else key_heads
        if width % heads:
            raise ValueError(f"width must be a multiple of heads, got {width} and {heads}")
        if heads % key_heads:
            raise ValueError(f"heads must be a multiple of key_heads, got {heads} and {key_heads}")
        self.width, self.heads, self.key_heads = width, heads, key_heads
        key_width = width // heads * key_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, key_width, bias=False)
        self.value = nn.Linear(width, key_width)
        self.out = nn.Linear(width, width)
        self.tap_q, self.tap_k = Tap(), Tap()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start by adding nothing."""
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def count_from_the_start(self) -> None:
        """Start at unit scale instead, where what is read is thought about afterwards.

        Two steps in a row that both start at zero are a saddle: neither learns what only both
        together can tell (docs/decisions/0010).
        """
        nn.init.xavier_uniform_(self.out.weight)

    def queries(self, queries_BQD: Tensor) -> Tensor:
        """Project what asks: ``[B, H, Q, W]``."""
        check_shape(queries_BQD, "B Q D", D=self.width)
        return self.query(queries_BQD).unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_and_values(self, offered_BKD: Tensor) -> tuple[Tensor, Tensor]:
        """Project offered rows once, for as many reads as wanted: two ``[B, key_heads, K, W]``."""
        check_shape(offered_BKD, "B K D", D=self.width)
        k_BKHW, v_BKHW = (
            project(offered_BKD).unflatten(-1, (self.key_heads, -1))
            for project in (self.key, self.value)
        )
        return k_BKHW.transpose(1, 2), v_BKHW.transpose(1, 2)

    def look(
        self,
        q_BHQW: Tensor,
        offered: tuple[Tensor, Tensor],
        keep: Keep,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """What each head of projected queries reads, ``[B, H, Q, W]``, by the first backend.

        Without ``keep`` every query reads every key.
        """
        q_BHQW, k_BHKW = self.tap_q(q_BHQW), self.tap_k(offered[0])
        call = AttentionCall(
            q_BHQW.dtype,
            q_BHQW.device.type,
            q_BHQW.shape[-1],
            has_bias=bias_BHQK is not None,
            mask=mask_kind(keep),
            grouped=self.key_heads != self.heads,
        )
        backend, _ = select(call)
        return backend.attend(q_BHQW, k_BHKW, offered[1], keep, bias_BHQK)

    def packs(self, rows: Tensor) -> bool:
        """Whether a kernel reads many histories like these rows one after another."""
        grouped, width = self.key_heads != self.heads, self.width // self.heads
        call = AttentionCall(
            computed_dtype(rows), rows.device.type, width,
            has_bias=False, mask="segments", grouped=grouped,
        )  # fmt: skip
        return is_packed(select(call)[0])

    def join(self, read_BHQW: Tensor, some_BQ1: Tensor | None) -> Tensor:
        """Heads side by side through the last projection; zeros where ``some_BQ1`` is False."""
        read_BQD = self.out(read_BHQW.transpose(1, 2).flatten(2))
        return read_BQD if some_BQ1 is None else read_BQD * some_BQ1

    def read(
        self,
        queries_BQD: Tensor,
        offered: tuple[Tensor, Tensor],
        keep: Keep,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        """Read projected rows; ``[B, Q, D]``, zeros for a query that keeps nothing."""
        read_BHQW = self.look(self.queries(queries_BQD), offered, keep, bias_BHQK)
        return self.join(read_BHQW, some_kept(keep))

    def forward(
        self,
        queries_BQD: Tensor,
        offered_BKD: Tensor,
        keep_BQK: Tensor | None = None,
        bias_BHQK: Tensor | None = None,
    ) -> Tensor:
        return self.read(queries_BQD, self.keys_and_values(offered_BKD), keep_BQK, bias_BHQK)
