"""What attention may read, told no larger than it is: not every mask needs a matrix.

B batch, Q queries, K keys, N rows of all histories one after another. A matrix of 8 bits for each
query and key is what is left of the memory that fused kernels spare, so masks that are made of two
vectors stay two vectors until a backend wants the matrix.
"""

from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

MaskKind = Literal["any", "padding", "segments", "none"]


class Padding(NamedTuple):
    """Every query that asks at all reads the same keys.

    >>> Padding(torch.tensor([[True, False]]), torch.tensor([[True, True]])).keep_BQK.tolist()
    [[[True, True], [False, False]]]
    """

    asks_BQ: Tensor
    offered_BK: Tensor

    @property
    def keep_BQK(self) -> Tensor:
        """As a matrix."""
        return self.asks_BQ[:, :, None] & self.offered_BK[:, None]

    @property
    def some_BQ1(self) -> Tensor:
        """Which queries read anything."""
        return (self.asks_BQ & self.offered_BK.any(1, keepdim=True))[..., None]


class Segments(NamedTuple):
    """One batch entry holds many histories; a row reads those of its own, and all of them.

    History ``i`` is rows ``starts_B[i]`` to ``starts_B[i + 1]`` (int32); none has more than
    ``longest``.

    >>> Segments(torch.tensor([0, 1, 3], dtype=torch.int32), rows=3, longest=2).keep_BQK.tolist()
    [[[True, False, False], [False, True, True], [False, True, True]]]
    """

    starts_B: Tensor
    rows: int
    longest: int

    @property
    def keep_BQK(self) -> Tensor:
        """As a matrix of all rows by all rows."""
        row_N = torch.arange(self.rows, device=self.starts_B.device)
        history_N = torch.bucketize(row_N, self.starts_B[1:], right=True)
        return (history_N[:, None] == history_N)[None]

    @property
    def some_BQ1(self) -> Tensor:
        """Every row reads itself."""
        return self.starts_B.new_ones(1, self.rows, 1, dtype=torch.bool)


Keep: TypeAlias = Tensor | Padding | Segments | None


def mask_kind(keep: Keep) -> MaskKind:
    """What a backend is told of a mask.

    >>> mask_kind(None), mask_kind(torch.ones(1, 1, 1, dtype=torch.bool))
    ('none', 'any')
    """
    match keep:
        case None:
            return "none"
        case Padding():
            return "padding"
        case Segments():
            return "segments"
        case _:
            return "any"


def as_matrix(keep: Keep) -> Tensor | None:
    """``[B, Q, K]``, True where a query may read a key; None if every query reads every key."""
    return keep.keep_BQK if isinstance(keep, Padding | Segments) else keep


def some_kept(keep: Keep) -> Tensor | None:
    """``[B, Q, 1]``: which queries read anything; None if all do."""
    if isinstance(keep, Padding | Segments):
        return keep.some_BQ1
    return None if keep is None else keep.any(-1, keepdim=True)
