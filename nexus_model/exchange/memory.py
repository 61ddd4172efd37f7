"""What a sample's state may read: the rows of all its paths, and which path each of them is of.

B samples, Q state tokens of all paths, K rows of all paths, D width, P paths, N rows then state
tokens offered together. Rows stand close together: a sample is padded to the rows of the largest
sample of its batch, not path by path.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Memory(NamedTuple):
    """Rows and layout; ``True`` in a keep mask means "is there".

    ``path_BK`` is the path of each row; of padding it says nothing. State tokens stand by path,
    equally many of each. ``keep_BQ`` is False for the state
    tokens of a path whose table is missing. ``context_PP``, if given, adds to the logit with which
    path ``i`` reads path ``j``; minus infinity forbids it.
    """

    rows_BKD: Tensor
    keep_BK: Tensor
    path_BK: Tensor
    path_Q: Tensor
    keep_BQ: Tensor
    paths: int
    context_PP: Tensor | None = None

    @property
    def path_BN(self) -> Tensor:
        """Path of each row, then of each state token."""
        return torch.cat([self.path_BK, self.path_Q.expand(len(self.path_BK), -1)], dim=1)

    @property
    def keep_BN(self) -> Tensor:
        """Which rows, then which state tokens, are there."""
        return torch.cat([self.keep_BK, self.keep_BQ], dim=1)

    @property
    def keep_BP(self) -> Tensor:
        """Which paths are there: the table of a missing one gave nothing at all."""
        return self.keep_BQ[:, :: len(self.path_Q) // self.paths]


def packed(rows_BKD: Tensor, keep_BK: Tensor, path_K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows moved together, ``keep_BK`` and ``path_BK``: K is then that of the largest sample.

    >>> keep_BK = torch.tensor([[True, False, True], [False, True, False]])
    >>> rows_BKD, keep_BK, path_BK = packed(torch.arange(6.0).view(2, 3, 1), keep_BK,
    ...     torch.tensor([0, 0, 1]))
    >>> rows_BKD[..., 0].tolist(), keep_BK.tolist(), path_BK.tolist()
    ([[0.0, 2.0], [4.0, 3.0]], [[True, True], [True, False]], [[0, 1], [0, 0]])
    """
    count_B = keep_BK.sum(1)
    most = max(1, int(count_B.max())) if len(count_B) else 1
    length = keep_BK.shape[1]
    if most >= length:
        return rows_BKD, keep_BK, path_K.expand(len(keep_BK), -1).contiguous()
    order_BK = keep_BK.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    start_B1 = torch.arange(len(keep_BK), device=order_BK.device)[:, None] * length
    chosen_N = (order_BK + start_B1).flatten()
    moved_BKD = rows_BKD.flatten(0, 1).index_select(0, chosen_N).view(-1, most, rows_BKD.shape[2])
    return moved_BKD, keep_BK.gather(1, order_BK), path_K[order_BK]


def other_tables(memory: Memory) -> Tensor:
    """Bool ``[B, Q, N]``: what each state token may read, its own path excluded."""
    path_B1N = memory.path_BN[:, None]
    keep_BQN = (memory.path_Q[:, None] != path_B1N) & memory.keep_BN[:, None]
    if memory.context_PP is None:
        return keep_BQN
    allowed_PP = memory.context_PP > -torch.inf
    return keep_BQN & allowed_PP[memory.path_Q[:, None], path_B1N]


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
    path_BN, bias = memory.path_BN, None
    if memory.context_PP is not None:
        finite_PP = memory.context_PP.clamp(min=-30.0)
        bias = finite_PP[memory.path_Q[:, None], path_BN[:, None]][:, None]
    if pair_BHPP is None:
        return bias
    asked_BHQP = pair_BHPP[:, :, memory.path_Q]
    of_BHQN = path_BN[:, None, None].expand(*asked_BHQP.shape[:3], -1)
    logits_BHQN = asked_BHQP.gather(3, of_BHQN)
    return logits_BHQN if bias is None else bias + logits_BHQN


def path_means(state_BQD: Tensor, memory: Memory) -> Tensor:
    """``[B, P, D]``: mean state token of each path, zero where its table is missing."""
    mean_BPD = state_BQD.unflatten(1, (memory.paths, -1)).mean(2)
    return mean_BPD * memory.keep_BP[..., None]
