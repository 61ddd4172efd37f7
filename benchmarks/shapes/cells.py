"""Columns of every kind tables are known to hold; same generator, same cells."""

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

Draw = np.random.Generator
EPOCH = dt.datetime(1970, 1, 1)
WORDS = (
    "late", "parcel", "broke", "the", "box", "again", "please", "call", "back", "about", "order",
    "and", "refund",
)  # fmt: skip
SIGNS = (
    "🙂",
    "👩‍👩‍👧",
    "é",
    "שלום",
    "مرحبا",
    "日本",
    "\u202eabc",
    'say "hi"',
    "a,b",
    "two\nlines",
    "'",
)
ODD_NAMES = (
    "order", "select", "group", "Größe", "with space", 'quo"te', "a.b", "100%", "UPPER", "_time_",
    "label", "split", "cutoff", "as_of", "sample", "имя", "name", "row", "x" * 80, "a'b", "c{0}",
    "prediction", "entity", "index", "count", "#no", "col:on", "[b]", "na", "true",
)  # fmt: skip


class Column(NamedTuple):
    """Cells of one column and the Arrow type they have in Parquet."""

    name: str
    cells: list[Any]
    kind: pa.DataType


def _numbers(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return draw.normal(size=rows).tolist(), pa.float64()


def _whole(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return draw.integers(-50, 5000, rows).tolist(), pa.int64()


def _small_whole(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return draw.integers(0, 3, rows).tolist(), pa.int8()


def _unsigned(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [2**63 + int(n) for n in draw.integers(0, 2**40, rows)], pa.uint64()


def _extreme(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    cells = [float(value) for value in draw.choice([1e300, -1e300, 1e-300, 0.0, 5.0], rows)]
    return cells, pa.float64()


def _not_finite(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    cells = draw.normal(size=rows)
    cells[draw.random(rows) < 0.3] = draw.choice([np.inf, -np.inf, np.nan])
    return cells.tolist(), pa.float64()


def _decimals(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    cents = draw.integers(-(10**9), 10**9, rows)
    return [Decimal(int(value)) / 100 for value in cents], pa.decimal128(18, 2)


def _booleans(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [bool(value) for value in draw.integers(0, 2, rows)], pa.bool_()


def _spelled_booleans(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    pairs = (("yes", "no"), ("Y", "N"), ("TRUE", "FALSE"), ("t", "f"), ("ja", "nein"))
    pair = pairs[int(draw.integers(len(pairs)))]
    return [pair[value] for value in draw.integers(0, 2, rows)], pa.string()


def _groups(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [f"g{value}" for value in draw.zipf(1.5, rows) % 12], pa.string()


def _dictionary(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return _groups(draw, rows)[0], pa.dictionary(pa.int32(), pa.string())


def _signs(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [SIGNS[value] for value in draw.integers(0, len(SIGNS), rows)], pa.string()


def _sentences(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    lengths = draw.integers(4, 14, rows)
    return [" ".join(draw.choice(WORDS, int(size))) for size in lengths], pa.string()


def _long_texts(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return ["x" * int(size) for size in draw.integers(1, 9000, rows)], pa.string()


def _constant(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [float(draw.integers(0, 3))] * rows, pa.float64()


def _nothing(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [None] * rows, (pa.null(), pa.string(), pa.float64())[int(draw.integers(3))]


def _rarely(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    cells = _numbers(draw, rows)[0]
    return [cell if draw.random() < 0.04 else None for cell in cells], pa.float64()


def _moments(first: dt.datetime, last: dt.datetime) -> Callable[[Draw, int], Any]:
    def made(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
        seconds = draw.integers(0, int((last - first).total_seconds()), rows)
        return [first + dt.timedelta(seconds=int(s)) for s in seconds], pa.timestamp("us")

    return made


def _days(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    start = dt.date(1890, 1, 1)
    found = [start + dt.timedelta(days=int(day)) for day in draw.integers(0, 60_000, rows)]
    return found, pa.date32()


def _zoned(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    zone = dt.timezone(dt.timedelta(hours=int(draw.integers(-11, 13))))
    cells = _moments(dt.datetime(2019, 1, 1), dt.datetime(2024, 1, 1))(draw, rows)[0]
    return [cell.replace(tzinfo=zone) for cell in cells], pa.timestamp("us", tz="UTC")


def _lists(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [draw.integers(0, 9, int(s)).tolist() for s in draw.integers(0, 5, rows)], pa.list_(
        pa.int64()
    )


def _records(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    kind = pa.struct([("a", pa.int64()), ("b", pa.string())])
    return [{"a": int(value), "b": "x"} for value in draw.integers(0, 9, rows)], kind


def _bytes(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [draw.bytes(4) for _ in range(rows)], pa.binary()


def _clock_times(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [dt.time(int(h), 30) for h in draw.integers(0, 24, rows)], pa.time64("us")


def _identifiers(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    return [str(uuid.UUID(bytes=draw.bytes(16))) for _ in range(rows)], pa.string()


def _mixed(draw: Draw, rows: int) -> tuple[list[Any], pa.DataType]:
    """Numbers, words and dates in one column, as spreadsheets give them."""
    kinds = ("12", "3.5", "n/a", "2024-01-01", "-", "many")
    return [kinds[value] for value in draw.integers(0, len(kinds), rows)], pa.string()


Kind = Callable[[Draw, int], tuple[list[Any], pa.DataType]]
KINDS: dict[str, Kind] = {
    "numbers": _numbers,
    "whole": _whole,
    "small_whole": _small_whole,
    "unsigned": _unsigned,
    "extreme": _extreme,
    "not_finite": _not_finite,
    "decimals": _decimals,
    "booleans": _booleans,
    "spelled_booleans": _spelled_booleans,
    "groups": _groups,
    "signs": _signs,
    "sentences": _sentences,
    "long_texts": _long_texts,
    "constant": _constant,
    "all_null": _nothing,
    "rarely_filled": _rarely,
    "before_1970": _moments(dt.datetime(1700, 1, 1), dt.datetime(1969, 1, 1)),
    "after_2262": _moments(dt.datetime(2263, 1, 1), dt.datetime(9000, 1, 1)),
    "recent": _moments(dt.datetime(2019, 1, 1), dt.datetime(2024, 1, 1)),
    "days": _days,
    "zoned": _zoned,
    "identifiers": _identifiers,
    "mixed": _mixed,
}
PARQUET_KINDS: dict[str, Kind] = {
    "lists": _lists,
    "records": _records,
    "bytes": _bytes,
    "clock_times": _clock_times,
    "dictionary": _dictionary,
}


def thinned(draw: Draw, column: Column, share: float) -> Column:
    """The column with this share of its cells empty."""
    cells = [None if draw.random() < share else cell for cell in column.cells]
    return column._replace(cells=cells)


def csv_cell(cell: Any) -> str:
    """A cell as CSV files have it."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, dt.datetime):
        return cell.isoformat(sep=" ")
    return str(cell)
