"""TableTensors: one table as columns of numbers, in memory or memory-mapped from a folder.

R rows, C columns, F features of a timestamp, L sub-words, Z numbers of a sentence's vector, P
parents (foreign keys).
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class TableTensors(NamedTuple):
    """All rows of a table; arrays share the first axis.

    ``numerical_RC`` float32, ``present_RC`` bool (numerical, then temporal columns),
    ``categorical_RC`` int32, ``temporal_RCF`` float32, ``text_RCL`` int32,
    ``vectors_RCZ`` float32, all 0 where there is no text,
    ``parents_RP`` int64 row of each parent that is not later than the row, else -1,
    ``time_R`` int64 microseconds (the largest integer where there is none).
    """

    numerical_RC: Array
    present_RC: Array
    categorical_RC: Array
    temporal_RCF: Array
    text_RCL: Array
    vectors_RCZ: Array
    parents_RP: Array
    time_R: Array

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.time_R)

    def digest(self) -> str:
        """SHA-256 over every array's type, shape and bytes."""
        seen = hashlib.sha256()
        for name, array in zip(self._fields, self, strict=True):
            seen.update(f"{name}|{array.dtype}|{array.shape}|".encode())
            seen.update(np.ascontiguousarray(array).data)
        return seen.hexdigest()


def write_tensors(folder: Path, tensors: TableTensors) -> None:
    """Write one ``.npy`` file per array."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(tensors._fields, tensors, strict=True):
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def open_tensors(folder: Path) -> TableTensors:
    """Memory-map the arrays of a folder; nothing is read until it is used."""
    return TableTensors(*(_mapped(folder / f"{name}.npy") for name in TableTensors._fields))


def _mapped(path: Path) -> Array:
    array = np.load(path, allow_pickle=False)  # an empty array cannot be mapped
    return np.load(path, mmap_mode="r", allow_pickle=False) if array.size else array
