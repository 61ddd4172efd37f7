"""Tensors as one member: a safetensors header, then every tensor's numbers, written as they are.

Written byte for byte as ``safetensors.torch.save`` does, but without a copy of all of them; read
into one piece of memory per tensor, without one of all of them.
"""

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from nexus_model.artifact.json_text import parse_json, told
from nexus_model.artifact.limits import (
    LARGEST_TENSOR_HEADER,
    MOST_AXES,
    MOST_NUMBERS,
    MOST_TENSORS,
    PIECE_BYTES,
)
from nexus_model.schema import ArtifactError

# In the order safetensors puts them, from the last to be written to the first.
DTYPES: Mapping[str, torch.dtype] = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "I16": torch.int16,
    "U16": torch.uint16,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "F32": torch.float32,
    "C64": torch.complex64,
    "F64": torch.float64,
    "I64": torch.int64,
    "U64": torch.uint64,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANK = {name: rank for rank, name in enumerate(DTYPES)}
_METADATA = "__metadata__"


class TensorTableError(ValueError):
    """The content is not the safetensors this format allows."""


class Place(NamedTuple):
    """Where a tensor's numbers are, counted from behind the header."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorContent:
    """Tensors to be written as a member, piece by piece.

    Raises:
        ArtifactError: a tensor's type has no name in the format.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if tensor.dtype not in _NAMES:
                raise ArtifactError(f"tensor {name!r}: {tensor.dtype} cannot be stored")
        self._ordered = sorted(
            tensors.items(), key=lambda item: (-_RANK[_NAMES[item[1].dtype]], item[0])
        )

    def pieces(self) -> Iterator[bytes]:
        """The member's bytes."""
        table: dict[str, Any] = {}
        end = 0
        for name, tensor in self._ordered:
            begin, end = end, end + tensor.numel() * tensor.element_size()
            shape = list(tensor.shape)
            table[name] = {
                "dtype": _NAMES[tensor.dtype], "shape": shape, "data_offsets": [begin, end],
            }  # fmt: skip
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        yield len(text).to_bytes(8, "little") + text
        for _, tensor in self._ordered:
            raw = _as_bytes(tensor.detach().cpu().contiguous())
            for place in range(0, len(raw), PIECE_BYTES):
                yield bytes(raw[place : place + PIECE_BYTES])


def _as_bytes(tensor: torch.Tensor) -> memoryview:
    """A contiguous tensor's own memory."""
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())


class TensorReader:
    """Takes the pieces of a member and fills the tensors asked for; all if ``only`` is None."""

    def __init__(self, size_bytes: int, only: Collection[str] | None = None) -> None:
        self._size, self._only = size_bytes, only
        self._head = b""
        self._behind = 0
        self._left: list[Place] | None = None
        self._made: dict[str, torch.Tensor] = {}

    def take(self, pieces: Iterable[bytes]) -> dict[str, torch.Tensor]:
        """The tensors, once every piece has been seen.

        Raises:
            TensorTableError: the content is not safetensors.
        """
        for piece in pieces:
            try:
                self._take(piece)
            except (ValueError, RuntimeError, OverflowError, MemoryError) as error:
                raise TensorTableError(f"not valid safetensors: {told(str(error))}") from error
        if self._left is None:
            raise TensorTableError("not valid safetensors: the header is cut off")
        for name, tensor in self._made.items():
            if tensor.dtype is torch.bool and (tensor.view(torch.uint8) > 1).any():
                raise TensorTableError(
                    f"not valid safetensors: '{told(name)}': neither true nor false"
                )
        return self._made

    def _take(self, piece: bytes) -> None:
        if self._left is None:
            self._head += piece
            header = 8 + int.from_bytes(self._head[:8], "little")
            if header > 8 + LARGEST_TENSOR_HEADER:
                raise ValueError(f"header of {header} bytes, allowed are {LARGEST_TENSOR_HEADER}")
            if len(self._head) < max(8, header):
                return
            places = parse_table(self._head[8:header], self._size - header)
            wanted = [p for p in places if self._only is None or p.name in self._only]
            self._made = {p.name: torch.empty(p.shape, dtype=p.dtype) for p in wanted}
            self._left = [p for p in reversed(wanted) if p.end > p.begin]
            piece, self._head = self._head[header:], b""
        self._fill(self._left, piece)

    def _fill(self, left: list[Place], piece: bytes) -> None:
        start, end = self._behind, self._behind + len(piece)
        self._behind = end
        while left and left[-1].begin < end:
            place = left[-1]
            low, high = max(place.begin, start), min(place.end, end)
            target = _as_bytes(self._made[place.name])
            target[low - place.begin : high - place.begin] = piece[low - start : high - start]
            if place.end > end:
                return
            left.pop()


def parse_table(text: bytes, data_bytes: int) -> list[Place]:
    """The tensors a header names, in the order of their numbers.

    Raises:
        ValueError: it is no header, or does not describe exactly ``data_bytes``.
    """
    table = parse_json(text, "header")
    if not isinstance(table, dict) or text[:1] != b"{":
        raise ValueError("the header is not an object")
    metadata = table.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(f"{_METADATA} is not text by name")
    if len(table) > MOST_TENSORS:
        raise ValueError(f"{len(table)} tensors, allowed are {MOST_TENSORS}")
    places = sorted((_place(name, stated) for name, stated in table.items()), key=lambda p: p[3:])
    end = 0
    for place in places:
        if place.begin != end:
            raise ValueError(f"'{told(place.name)}' does not follow the tensor before it")
        end = place.end
    if end != data_bytes:
        raise ValueError(f"tensors of {end} bytes, there are {data_bytes}")
    return places


def _place(name: str, stated: object) -> Place:
    shown = told(name)
    if not isinstance(stated, dict) or set(stated) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"'{shown}' is not dtype, shape and data_offsets")
    dtype, shape, offsets = stated["dtype"], stated["shape"], stated["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"'{shown}' is of an unknown type")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"'{shown}': shape and data_offsets must be whole numbers, 0 or more")
    # Axes of length 0 are left out: memory is laid out by the others.
    if len(shape) > MOST_AXES or math.prod(size for size in shape if size) > MOST_NUMBERS:
        raise ValueError(f"'{shown}': its shape is absurd")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"'{shown}': {end - begin} bytes do not hold its shape")
    return Place(name, DTYPES[dtype], tuple(shape), begin, end)


def _are_sizes(stated: object) -> bool:
    return isinstance(stated, list) and all(
        type(size) is int and 0 <= size <= MOST_NUMBERS * 16 for size in stated
    )
