"""Vectors kept on disk by the model's and the text's SHA-256: no text is read twice.

N texts of a call, Z numbers of a vector. A part is two files, ``NAME.keys.npy`` (sorted) and
``NAME.vectors.npy``; each is written under another name and then renamed, so two processes may
write at once: the worst is a vector that is there twice.
"""

import hashlib
import os
import threading
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.sentences import SentenceReader

Array = np.ndarray
KEYS, VECTORS = ".keys.npy", ".vectors.npy"
AT_ONCE = 4096
ALIKE = 8


class _Part(NamedTuple):
    """Sorted hexadecimal digests of texts and their vectors, which stay on disk."""

    keys_N: Array
    vectors_NZ: Array


class KeptSentences:
    """A reader that remembers; ``folder`` is shared by all models, tables and projects."""

    def __init__(self, reader: SentenceReader, folder: Path) -> None:
        self._reader, self._lock = reader, threading.Lock()
        self.folder = folder / reader.model_sha256
        self._parts: dict[str, _Part] = {}
        self._is_written = True

    @property
    def model_sha256(self) -> str:
        """SHA-256 over the model's files."""
        return self._reader.model_sha256

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._reader.width

    @property
    def place(self) -> str:
        """The model's folder."""
        return self._reader.place

    def vectors(self, texts: Sequence[str]) -> Array:
        """float32 [N, Z], in order; what is not kept is asked for, and kept.

        Raises:
            ConfigurationError: a kept file is damaged, or the model cannot read a text.
        """
        keys_N = np.array([hashlib.sha256(text.encode()).hexdigest() for text in texts], "S64")
        with self._lock:
            self._look()
            found_NZ, known_N = self._kept(keys_N)
            _, first = np.unique(keys_N, return_index=True)
            asked = [int(place) for place in np.sort(first) if not known_N[place]]
            for start in range(0, len(asked), AT_ONCE):
                places = asked[start : start + AT_ONCE]
                self._keep(keys_N[places], self._reader.vectors([texts[p] for p in places]))
            if asked:
                found_NZ, known_N = self._kept(keys_N)
                self._merge()
        return found_NZ

    def _kept(self, keys_N: Array) -> tuple[Array, Array]:
        """Vectors of the texts, and which are known."""
        found_NZ = np.zeros((len(keys_N), self.width), np.float32)
        known_N = np.zeros(len(keys_N), bool)
        for part in self._parts.values():
            at_N = np.minimum(np.searchsorted(part.keys_N, keys_N), len(part.keys_N) - 1)
            here_N = (part.keys_N[at_N] == keys_N) & ~known_N
            found_NZ[here_N] = part.vectors_NZ[at_N[here_N]]
            known_N |= here_N
        return found_NZ, known_N

    def _look(self) -> None:
        """Open what this or another process wrote since, and forget what is gone."""
        if not self._is_written:
            return
        names = {path.name.removesuffix(KEYS) for path in self.folder.glob(f"*{KEYS}")}
        self._parts = {name: part for name, part in self._parts.items() if name in names}
        for name in sorted(names - self._parts.keys()):
            try:
                self._parts[name] = self._open(name)
            except FileNotFoundError:
                # Merged into another part by another process since the folder was listed.
                continue

    def _open(self, name: str) -> _Part:
        path = self.folder / f"{name}{VECTORS}"
        try:
            keys_N = np.load(self.folder / f"{name}{KEYS}", allow_pickle=False)
            vectors_NZ = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            raise ConfigurationError(f"{path} is damaged: delete it") from error
        if not len(keys_N) or vectors_NZ.shape != (len(keys_N), self.width):
            raise ConfigurationError(f"{path} is damaged: delete it")
        return _Part(keys_N, vectors_NZ)

    def _keep(self, keys_N: Array, vectors_NZ: Array) -> None:
        order_N = np.argsort(keys_N)
        part = _Part(keys_N[order_N], vectors_NZ[order_N])
        name = hashlib.sha256(part.keys_N.tobytes()).hexdigest()[:32]
        self._parts[name] = part
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Keys come last: where they are, the vectors are.
            self._write(f"{name}{VECTORS}", part.vectors_NZ)
            self._write(f"{name}{KEYS}", part.keys_N)
        except OSError as error:
            if self._is_written:
                warnings.warn(f"vectors of texts are not kept on disk: {error}", stacklevel=4)
            self._is_written = False

    def _write(self, name: str, array: Array) -> None:
        partial = self.folder / f".{uuid.uuid4().hex}"
        try:
            with partial.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            os.replace(partial, self.folder / name)  # noqa: PTH105 - over whatever is there
        finally:
            partial.unlink(missing_ok=True)

    def _merge(self) -> None:
        """Parts of about the same size become one, so that there are never many."""
        sizes: dict[int, list[str]] = {}
        for name, part in self._parts.items():
            sizes.setdefault(len(part.keys_N).bit_length() // 3, []).append(name)
        for names in sizes.values():
            if len(names) < ALIKE:
                continue
            merged = [self._parts.pop(name) for name in names]
            keys_N, first = np.unique(np.concatenate([p.keys_N for p in merged]), return_index=True)
            self._keep(keys_N, np.concatenate([p.vectors_NZ for p in merged])[first])
            if self._is_written:
                self._remove([name for name in names if name not in self._parts])

    def _remove(self, names: Sequence[str]) -> None:
        for name in names:
            for ending in (KEYS, VECTORS):
                (self.folder / f"{name}{ending}").unlink(missing_ok=True)
