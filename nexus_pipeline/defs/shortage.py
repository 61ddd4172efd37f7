"""Shortage: a disk or a memory that is full is told as that, not as whatever failed for it."""

import errno
import os
import re
from collections.abc import Iterator

from nexus_model.schema import NexusError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK = re.compile(
    r"no space left|disk is full|disk full|disk quota exceeded|file too large|disk i/o error"
    r"|os error (28|27|122)\b",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"out of memory error|\bMemoryError\b|can't allocate memory|cannot allocate memory|bad_alloc"
    r"|failed to allocate|unable to allocate|allocation failure|could not allocate",
    re.IGNORECASE,
)


class ShortageError(NexusError):
    """The machine has too little of something; what was made is kept."""


def shortage_of(error: BaseException) -> ShortageError | None:
    """What the machine had too little of, if that is why this was raised.

    >>> print(shortage_of(OSError(28, "No space left on device", "data/x.npy")))
    the disk is full (data/x.npy): free some space, then say the same again; what was made is kept
    >>> shortage_of(ValueError("3 is not 4")) is None
    True
    """
    for cause in _chain(error):
        told = str(cause)
        if isinstance(cause, OSError) and cause.errno in _NO_ROOM:
            return _disk(str(cause.filename or cause.strerror))
        if isinstance(cause, MemoryError) or _MEMORY.search(told):
            return _memory(_line(told, _MEMORY))
        if _DISK.search(told):
            return _disk(_line(told, _DISK))
    return None


class TellingShortage:
    """Inside, a shortage that ends the run itself is told where the output was before.

    A run that cannot write its logs any more may leave the process with output that goes there.

    Raises:
        ShortageError: at the end, the disk or the memory is full.
    """

    def __enter__(self) -> None:
        """Keep where the output goes."""
        self._before = [(number, os.dup(number)) for number in (1, 2)]

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say what was short, if that is what failed."""
        told = None if error is None else shortage_of(error)
        for number, kept in self._before:
            if told is not None:
                os.dup2(kept, number)
            os.close(kept)
        if told is not None:
            raise told from error


def _disk(where: str) -> ShortageError:
    return ShortageError(
        f"the disk is full ({where}): free some space, then say the same again; "
        "what was made is kept"
    )


def _memory(what: str) -> ShortageError:
    return ShortageError(
        f"the memory is not enough ({what}): allow more, or make training.memory_budget_mb "
        "or NEXUS_STORE_MEMORY smaller; what was made is kept"
    )


def _line(text: str, about: re.Pattern[str]) -> str:
    """The line of a message that says it."""
    found = next((line for line in text.splitlines() if about.search(line)), "")
    return found.strip()[:160] or "no more is known"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
