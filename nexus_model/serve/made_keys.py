"""Keys for rows that have none: values of the column's type that no row has.

R rows of a table.
"""

import datetime as dt
import decimal
import uuid
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa


def made_keys(
    column: pa.ChunkedArray, broken_R: np.ndarray, *, fill_only: bool
) -> pa.ChunkedArray | None:
    """The column with other values at ``broken_R``; None where its type has too few.

    ``fill_only`` leaves what is there, and fills what is empty with one value: another column of
    the key tells the rows apart already.
    """
    cells = column.to_pylist()
    free = _free(column.type, {cell for cell in cells if cell is not None})
    made = next(free, None)
    for row in broken_R.tolist():
        if made is None:
            return None
        if not fill_only:
            cells[row], made = made, next(free, None)
        elif cells[row] is None:
            cells[row] = made
    return pa.chunked_array([pa.array(cells, column.type)])


def _free(kind: pa.DataType, taken: set[Any]) -> Iterator[Any]:
    """Values of a type that are not taken, without end where the type has enough."""
    for value in _values(kind, taken):
        if value not in taken:
            yield value


def _values(kind: pa.DataType, taken: set[Any]) -> Iterator[Any]:
    types = pa.types
    if types.is_boolean(kind):
        yield from (False, True)
    elif types.is_integer(kind):
        bits, signed = kind.bit_width, types.is_signed_integer(kind)
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        yield from range(max(taken, default=0) + 1, high + 1)
        yield from range(min(taken, default=0) - 1, low - 1, -1)
        yield from range(low, high + 1)
    elif types.is_floating(kind):
        yield from (float(2**40 + n) for n in count())
    elif types.is_decimal(kind):
        scale = decimal.Decimal(1).scaleb(-kind.scale)
        yield from (scale * n for n in range(10**kind.precision))
    elif types.is_date(kind):
        yield from (dt.date.max - dt.timedelta(days=n) for n in range(10**6))
    elif types.is_timestamp(kind):
        last = dt.datetime(2262, 1, 1, tzinfo=dt.UTC if kind.tz else None)
        yield from (last - dt.timedelta(seconds=n) for n in count())
    elif isinstance(kind, pa.UuidType):
        yield from (uuid.UUID(int=n) for n in count())
    elif types.is_string(kind) or types.is_large_string(kind):
        yield from (f"row without a key {n}" for n in count())
