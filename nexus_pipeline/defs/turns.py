"""Turns: runs of the same project make one thing at a time, and leave nothing when they are killed.

Whoever makes something holds a lock that ends with its process. Steps of one run may work at once;
another run waits, so that nobody reads what somebody else is writing.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_LOOK_EVERY_S = 0.2
_PREFIX = "nexusflow-making-"


@contextmanager
def turn_of(folder: Path, run_id: str, say: Callable[[str], None]) -> Iterator[None]:
    """Inside, no other run of the project makes anything; ``folder`` is where its records are.

    Temporary files of the block are in a folder of their own, which the next turn removes if this
    process is killed.
    """
    place = folder / "turns"
    place.mkdir(parents=True, exist_ok=True)
    with _own_place(place, run_id, say), _own_temporary_folder():
        yield


@contextmanager
def _own_place(place: Path, run_id: str, say: Callable[[str], None]) -> Iterator[None]:
    mine, told = place / f"{run_id}.lock", False
    while True:
        with (place / "gate").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            others = [path.stem for path in place.glob("*.lock") if path != mine and _is_held(path)]
            if not others:
                held = mine.open("a")
                fcntl.flock(held, fcntl.LOCK_SH)
                break
        if not told:
            say(f"waiting for run {others[0][:8]}, which is making something of this project")
            told = True
        time.sleep(_LOOK_EVERY_S)
    try:
        yield
    finally:
        held.close()
        with (place / "gate").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            _is_held(mine)


def _is_held(path: Path) -> bool:
    """Whether a process that lives holds the lock; one that nobody holds is removed."""
    try:
        file = path.open("a")
    except FileNotFoundError:
        return False
    with file:
        if not _is_free(file):
            return True
        path.unlink(missing_ok=True)
        return False


def _is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """A temporary folder for this process, and what killed processes left of theirs removed."""
    usual, said = tempfile.tempdir, os.environ.get("TMPDIR")
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    own = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    with (own / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tempfile.tempdir = os.environ["TMPDIR"] = str(own)
        try:
            yield
        finally:
            tempfile.tempdir = usual
            os.environ.pop("TMPDIR")
            if said is not None:
                os.environ["TMPDIR"] = said
            shutil.rmtree(own, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / "lock").open("a") as lock:
            if _is_free(lock):
                shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # somebody else's, or one that is just being made or removed
        return
