"""Intact: whether files are still what they were when they were made.

A file that was cut off, or written over, is not made from what its record says. Size and time of
change tell most of the time; where they differ the content is read.
"""

import hashlib
from pathlib import Path

from nexus_model.schema import ArtifactError

# Of a file: bytes, time of change in nanoseconds, hash of its content.
Known = dict[str, tuple[int, int, str]]
_PIECE = 1 << 20


def files_at(place: Path) -> Known:
    """Every file at a place, by its path below it; nothing if there is no such place."""
    found = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.is_file())
    return {
        path.relative_to(place).as_posix(): (*_stamp(path), content_hash(path)) for path in found
    }


def first_changed(place: Path, known: Known) -> str | None:
    """The first of the known files that is gone or has another content; None if none is.

    Files that came later are not looked at.
    """
    for name, (size, changed_at, content) in known.items():
        path = place / name
        if not path.is_file():
            return f"{path.name} is gone"
        if _stamp(path) == (size, changed_at):
            continue
        if content_hash(path) != content:
            return f"{path.name} was changed"
    return None


def content_hash(path: Path) -> str:
    """SHA-256 of a file; of a ``.nxf`` that of its members, which a signature does not change."""
    if path.suffix == ".nxf":
        from nexus_model.artifact.archive import read_archive

        try:
            return read_archive(path).content_hash
        except ArtifactError:
            return "damaged"
    seen = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            seen.update(piece)
    return seen.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
