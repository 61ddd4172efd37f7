"""A file that is read by place: the open file itself, so nobody can put another one in between."""

import os
import secrets
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol

from nexus_model.schema import ArtifactError


class ReadAt(Protocol):
    """Bytes that are read by place."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read_at(self, place: int, count: int) -> bytes:
        """Exactly ``count`` bytes from ``place`` on, or an ``ArtifactError``."""
        ...


class StoredFile:
    """A regular file, open until nobody holds this object."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # A pipe would be waited for without O_NONBLOCK; on a regular file it means nothing.
        flags = os.O_RDONLY
        for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
            flags |= getattr(os, name, 0)
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError as error:
            raise ArtifactError(f"{path}: no such file") from error
        except OSError as error:
            raise ArtifactError(f"{path}: cannot be opened: {error.strerror}") from error
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(descriptor)
            raise ArtifactError(f"{path}: no such file (it is not a regular file)")
        self._raw = os.fdopen(descriptor, "rb", 0)
        weakref.finalize(self, self._raw.close)
        self._size, self._lock = state.st_size, Lock()

    @property
    def size(self) -> int:
        """Bytes when it was opened."""
        return self._size

    def read_at(self, place: int, count: int) -> bytes:
        """Exactly ``count`` bytes from ``place`` on.

        Raises:
            ArtifactError: the file ends before, or cannot be read.
        """
        if not 0 <= place <= place + count <= self._size:
            raise ArtifactError(f"{self.path}: damaged or truncated: ends before its content")
        try:
            with self._lock:
                self._raw.seek(place)
                pieces = list(self._pieces(count))
        except OSError as error:
            raise ArtifactError(f"{self.path}: cannot be read: {error.strerror}") from error
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if len(content) != count:
            raise ArtifactError(f"{self.path}: damaged or truncated: became shorter while read")
        return content

    def _pieces(self, count: int) -> Iterator[bytes]:
        # One call reads at most 2 GiB.
        while count and (piece := self._raw.read(count)):
            count -= len(piece)
            yield piece


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write that takes the place of ``path`` whole, or leaves it as it was.

    It has the rights of the file it replaces.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}.unfinished")
    rights = stat.S_IMODE(path.stat().st_mode) & 0o777 if path.is_file() else None
    try:
        with unfinished.open("x+b") as file:
            if rights is not None:
                unfinished.chmod(rights)
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
