"""Events that a server did not take, on disk: one file of JSON lines per run, flushed to the disk.

The first line says which run it is. Files a run logs are copied beside it, because their places are
written anew by later runs. A line that a crash cut off is passed over; whole lines stay.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from nexus_pipeline.tracking.events import Event

FILES, SENT = ".files", ".sent"


class KeptRun:
    """The waiting file of one run; whoever holds it is still writing."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)}.jsonl"
        self._held: IO[bytes] | None = None

    def keep(self, header: Event, event: Event | None = None) -> None:
        """Write an event; before the first one, the header."""
        with self._opened() as file:
            if file.seek(0, os.SEEK_END) == 0:
                _write(file, header)
            if event is not None:
                _write(file, self._with_copies(event))

    def hold(self) -> None:
        """Keep the file locked until ``release``, so that nobody sends what is not whole."""
        if self._held is None:
            self._held = _locked(self.path)

    def release(self) -> None:
        """Let others send it."""
        if self._held is not None:
            self._held.close()
            self._held = None

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self._held is not None:
            yield self._held
            return
        file = _locked(self.path)
        try:
            yield file
        finally:
            file.close()

    def _with_copies(self, event: Event) -> Event:
        """The event with its file, or folder, copied beside the waiting file, and its hash."""
        if event["kind"] != "artifact":
            return event
        source = Path(event["path"])
        place = self.path.with_suffix(FILES)
        place.mkdir(parents=True, exist_ok=True)
        copy = place / str(sum(1 for _ in place.iterdir())) / source.name
        if source.is_dir():
            shutil.copytree(source, copy)
        else:
            copy.parent.mkdir()
            shutil.copyfile(source, copy)
        below = copy.relative_to(self.path.parent).as_posix()
        return {**event, "path": below, "sha256": content_of(copy)}


class KeptEvents(NamedTuple):
    """A waiting file as it is read: which run, its events in order, lines that were cut off."""

    header: Event
    events: list[Event]
    torn: int


def read_kept(path: Path) -> KeptEvents | None:
    """The events of a waiting file; None if even its first line is not whole."""
    found: list[Event] = []
    torn = 0
    for line in path.read_bytes().split(b"\n"):
        if not line:
            continue
        try:
            found.append(json.loads(line))
        except ValueError:
            torn += 1
    return KeptEvents(found[0], found[1:], torn) if found else None


def located(path: Path, event: Event) -> Event:
    """A kept event with its copy's whole path.

    Raises:
        ValueError: the copy is not what was kept.
    """
    if event["kind"] != "artifact":
        return event
    copy = path.parent / event["path"]
    if content_of(copy) != event["sha256"]:
        raise ValueError(f"{copy} is not what was kept")
    return {**event, "path": str(copy)}


def waiting_files(folder: Path) -> list[Path]:
    """Waiting files, the oldest first."""
    return sorted(folder.glob("*.jsonl"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def sent_already(path: Path) -> tuple[str, int]:
    """Which run a waiting file became, and how many of its events the server has."""
    place = path.with_suffix(SENT)
    if not place.is_file():
        return "", 0
    found = json.loads(place.read_bytes())
    return found["run_id"], found["events"]


def note_sent(path: Path, run_id: str, events: int) -> None:
    """Remember how far a waiting file was sent."""
    place, partial = path.with_suffix(SENT), path.with_suffix(f"{SENT}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"run_id": run_id, "events": events}, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(place)


def forget(path: Path) -> None:
    """Remove a waiting file that was sent, and then what belongs to it."""
    path.unlink(missing_ok=True)
    path.with_suffix(SENT).unlink(missing_ok=True)
    shutil.rmtree(path.with_suffix(FILES), ignore_errors=True)


def forget_orphans(folder: Path) -> None:
    """Remove what a killed ``forget`` left."""
    for place in [*folder.glob(f"*{SENT}"), *folder.glob(f"*{FILES}")]:
        if not place.with_suffix(".jsonl").exists():
            forget(place.with_suffix(".jsonl"))


@contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Whether nobody writes to the file, who then waits until this block is left."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino


def _locked(path: Path) -> IO[bytes]:
    """The file, open for appending and locked; not one that was removed meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        file.close()


def _write(file: IO[bytes], event: Event) -> None:
    """One line, on the disk when this returns; a line that was cut off before it is ended first."""
    with Path(file.name).open("rb") as before:
        end = before.seek(0, os.SEEK_END)
        before.seek(max(0, end - 1))
        cut = end > 0 and before.read(1) != b"\n"
    line = json.dumps(event, sort_keys=True).encode() + b"\n"
    file.write(b"\n" + line if cut else line)
    file.flush()
    os.fsync(file.fileno())


def content_of(path: Path) -> str:
    """SHA-256 of a file, or of all files of a folder with their names."""
    seen = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        seen.update(file.relative_to(path.parent).as_posix().encode())
        seen.update(file.read_bytes())
    return seen.hexdigest()
