"""What a sample's state may read: the rows of all its paths, and which path each of them is of.

B samples, Q state tokens of all paths, K rows of all paths, D width, P paths, N rows then state
tokens offered together.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """Rows and layout; ``True`` in a keep mask means "is there".

    Paths stand in order, each with equally many state tokens. ``keep_BQ`` is False for the state
    tokens of a path whose table is missing. ``context_PP``, if given, adds to the logit with which
    path ``i`` reads path ``j``; minus infinity forbids it.
    """

    rows_BKD: Tensor
    keep_BK: Tensor
    path_K: Tensor
    path_Q: Tensor
    keep_BQ: Tensor
    paths: int
    context_PP: Tensor | None = None

    @property
    def path_N(self) -> Tensor:
        """Path of each row, then of each state token."""
        return torch.cat([self.path_K, self.path_Q])

    @property
    def keep_BN(self) -> Tensor:
        """Which rows, then which state tokens, are there."""
        return torch.cat([self.keep_BK, self.keep_BQ], dim=1)

    @property
    def keep_BP(self) -> Tensor:
        """Which paths are there: the table of a missing one gave nothing at all."""
        return self.keep_BQ[:, :: len(self.path_Q) // self.paths]


def other_tables(memory: Memory) -> Tensor:
    """Bool ``[B, Q, N]``: what each state token may read, its own path excluded."""
    keep_BQN = (memory.path_Q[:, None] != memory.path_N) & memory.keep_BN[:, None]
    if memory.context_PP is None:
        return keep_BQN
    allowed_PP = memory.context_PP > -torch.inf
    return keep_BQN & allowed_PP[memory.path_Q][:, memory.path_N]


def every_table(memory: Memory) -> Tensor:
    """Bool ``[B, Q, N]``: everything that is there, own rows and tokens included."""
    return memory.keep_BN[:, None].expand(-1, len(memory.path_Q), -1)


def hearing_weights(memory: Memory, dtype: torch.dtype) -> Tensor:
    """``[P, P]``: factor with which a path hears another's mean message, zero for itself."""
    others_PP = 1 - torch.eye(memory.paths, dtype=dtype, device=memory.path_Q.device)
    return others_PP if memory.context_PP is None else others_PP * memory.context_PP.exp().to(dtype)


def reading_bias(memory: Memory, pair_BHPP: Tensor | None) -> Tensor | None:
    """``[B, H, Q, N]`` logits added by context weights and by the pair track; None if neither."""
    if memory.context_PP is None and pair_BHPP is None:
        return None
    total = torch.zeros((), device=memory.rows_BKD.device)
    if memory.context_PP is not None:
        finite_PP = memory.context_PP.clamp(min=-30.0)
        total = total + finite_PP[memory.path_Q][:, memory.path_N]
    if pair_BHPP is not None:
        total = total + pair_BHPP[:, :, memory.path_Q][..., memory.path_N]
    shape = (len(memory.rows_BKD), 1, len(memory.path_Q), len(memory.path_N))
    return total.expand(shape) if total.ndim == 2 else total


def path_means(state_BQD: Tensor, memory: Memory) -> Tensor:
    """``[B, P, D]``: mean state token of each path, zero where its table is missing."""
    mean_BPD = state_BQD.unflatten(1, (memory.paths, -1)).mean(2)
    return mean_BPD * memory.keep_BP[..., None]
