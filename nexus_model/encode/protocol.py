"""What a table encoder is: cells of a row in, one vector per row out, rows independent."""

from typing import Protocol

from torch import Tensor


class RowEncoder(Protocol):
    """``cells_RCD -> rows_RD``; a table without feature columns has C = 0."""

    def __call__(self, cells_RCD: Tensor) -> Tensor: ...


class HistoryEncoder(Protocol):
    """Ordered rows of one sample, oldest first: ``rows_BLD -> states_BLD`` at the kept steps."""

    def __call__(self, rows_BLD: Tensor, age_BL: Tensor, keep_BL: Tensor) -> Tensor: ...
