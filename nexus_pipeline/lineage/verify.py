"""Whether the audit trail is as it was written: every line, their order, number and end."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nexus_model.schema import Record
from nexus_pipeline.lineage.audit import START, AuditError, Head, Trail, hash_of


class Verified(Record):
    """What a check of a trail found; ``notes`` are crashes, which took nothing that was said."""

    file: str
    lines: int
    head: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was changed."""
        return not self.problems


class _Walk:
    """Goes over the lines and remembers what the next one must name."""

    def __init__(self) -> None:
        self.head = Head(0, START)
        self.hashes = {0: START}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.written_off = ""

    def line(self, at: int, text: bytes) -> None:
        """Look at one line of the file."""
        found = _entry_of(text)
        if found is None:
            self.problems.append(f"line {at} was edited: it is no longer a line")
            return
        if found.get("cut_off", "") != self.written_off:
            self.problems.append(f"what a crash left before line {at} was removed")
        self.written_off = ""
        self._entry(at, found)

    def write_off(self, at: int, text: bytes) -> None:
        """Pass over what a crash left, as the line after it says."""
        self.notes.append(f"line {at} was cut off by a crash, and written off by the next")
        self.written_off = hashlib.sha256(text).hexdigest()

    def _entry(self, at: int, found: Mapping[str, Any]) -> None:
        number, hashed = found.get("number"), str(found.get("hash"))
        if hash_of(found) != hashed:
            self.problems.append(f"line {at} was edited")
        if number != self.head.lines + 1:
            due = self.head.lines + 1
            self.problems.append(f"line {at} says it is number {number}, number {due} is due")
        elif found.get("before") != self.head.hash:
            self.problems.append(f"line {at} does not follow the line before it")
        self.head = Head(number if isinstance(number, int) else self.head.lines + 1, hashed)
        self.hashes[self.head.lines] = hashed

    def end(self, rest: bytes, at: int, head: Head) -> None:
        """Look at what stands after the last whole line, and at the head."""
        if head == self.head:
            if rest:
                told = "a crash cut it off before it was said"
                self.notes.append(f"line {at} is torn: {told}; the next line goes on after it")
            return
        if self.hashes.get(head.lines) == head.hash and self.head.lines == head.lines + 1:
            self.notes.append("the head is one line behind: a crash came between the two")
            return
        if head.lines > self.head.lines:
            lost = head.lines - self.head.lines
            self.problems.append(f"the end is missing: the head counts {lost} more line(s)")
        else:
            self.problems.append(
                f"the head says line {head.lines} is {head.hash[:12]}, the trail ends with line "
                f"{self.head.lines}, {self.head.hash[:12]}"
            )


def verify(trail: Trail, kept: Mapping[str, str] | None = None) -> Verified:
    """Compare every line with its hash and the one before, and the end with the head.

    ``kept`` are heads that were written down elsewhere, by where:
    ``{"shop-churned version 1": "12:ab.."}``.
    """
    walk, content = _Walk(), trail.path.read_bytes() if trail.path.exists() else b""
    *lines, rest = content.split(b"\n")
    for at, (text, following) in enumerate(zip(lines, [*lines, b""][1:], strict=True), start=1):
        later = _entry_of(following) or {}
        if text and later.get("cut_off") == hashlib.sha256(text).hexdigest():
            walk.write_off(at, text)
        elif text or at < len(lines):
            walk.line(at, text)
    try:
        walk.end(rest, len(lines) + 1, trail.head())
    except AuditError as error:
        walk.problems.append(str(error))
    for where, told in (kept or {}).items():
        number, _, hashed = told.partition(":")
        if walk.hashes.get(int(number)) != hashed:
            walk.problems.append(f"{where} was registered when line {number} was another")
    return Verified(
        file=str(trail.path),
        lines=len(walk.hashes) - 1,
        head=walk.head.told(),
        problems=tuple(walk.problems),
        notes=tuple(walk.notes),
    )


def read_trail(trail: Trail) -> list[dict[str, Any]]:
    """Every line that is one, the oldest first; whether they are true, ``verify`` says."""
    if not trail.path.exists():
        return []
    found = (_entry_of(line) for line in trail.path.read_bytes().split(b"\n"))
    return [entry for entry in found if entry is not None]


def _entry_of(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
