"""Keys of every kind: one column or several, whole numbers of any size, texts, days."""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

Draw = np.random.Generator
FIRST_DAY = dt.date(1900, 1, 1)


class Key(NamedTuple):
    """Columns that name the rows of a table: their types, and a tuple of cells per row."""

    kinds: tuple[pa.DataType, ...]
    rows: list[tuple[Any, ...]]


Kind = tuple[tuple[pa.DataType, ...], Callable[[int], tuple[Any, ...]]]
WHOLE, TEXT = (pa.int64(),), (pa.string(),)
# By kind: the types of its columns, and the key with this number.
KINDS: dict[str, Kind] = {
    "counted": (WHOLE, lambda n: (n + 1,)),
    "negative": (WHOLE, lambda n: (-n - 1,)),
    "wide": (WHOLE, lambda n: (2**62 + n * 7919,)),
    "huge": (TEXT, lambda n: (10**22 + n,)),
    "padded": (TEXT, lambda n: (f"{n:06d}",)),
    "texts": (TEXT, lambda n: (f"K-{n:05d}",)),
    "signs": (TEXT, lambda n: (f"🙂 {n} שלום 'x'",)),
    "uuids": (TEXT, lambda n: (str(uuid.UUID(int=n * 3**70)),)),
    "days": ((pa.date32(),), lambda n: (FIRST_DAY + dt.timedelta(days=n),)),
    "pair": ((*WHOLE, *TEXT), lambda n: (n // 7, "abcdefg"[n % 7])),
    "triple": ((*WHOLE, *TEXT, *WHOLE), lambda n: (n // 6, f"p{n % 3}", -(n // 3 % 2))),
}
ONLY_CSV = ("padded", "huge")
SIMPLE = ("counted", "negative", "wide", "texts", "uuids", "signs", "days")
COMPOSITE = ("pair", "triple")


def make_key(draw: Draw, kind: str, rows: int) -> Key:
    """A key of one of the kinds, its rows in random order."""
    kinds, key = KINDS[kind]
    return Key(kinds, [key(int(number)) for number in draw.permutation(rows)])


def lost_cell(kind: pa.DataType) -> Any:
    """A cell of this type that no key of ours has."""
    if pa.types.is_integer(kind):
        return -987_654_321
    if pa.types.is_date(kind):
        return dt.date(2199, 1, 1)
    return "99999999"
