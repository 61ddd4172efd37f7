"""The audit trail: a JSON line for everything made or decided, each naming the one before it.

Every line holds the SHA-256 of the line before it and of itself; a head file beside it holds the
number of lines and the last hash. Who changes, removes, inserts or moves a line breaks the chain;
who cuts the end off no longer agrees with the head. Who writes the whole chain and the head anew is
found only by the head that each registered version keeps as a tag in MLflow, if he cannot reach it.
"""

import datetime as dt
import fcntl
import getpass
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from nexus_model.schema import NexusError
from nexus_pipeline.project import ProjectConfig

START = "0" * 64
_OWN = ("number", "at", "user", "host", "what", "before", "hash", "cut_off")


class AuditError(NexusError):
    """The trail cannot be written, or was changed by somebody else."""


class Head(NamedTuple):
    """How many lines there are, and the hash of the last."""

    lines: int
    hash: str

    def told(self) -> str:
        """As a tag says it."""
        return f"{self.lines}:{self.hash}"


class Trail:
    """The trail of one project."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.head_path = path.with_suffix(".head.json")

    def note(self, what: str, facts: Mapping[str, Any]) -> str:
        """Append a line; it is on the disk when this returns. The head, as ``Head.told`` says it.

        Raises:
            AuditError: it cannot be written, or the trail's end is not what was written last.
        """
        try:
            with self._locked():
                return self._append(what, facts).told()
        except OSError as error:
            told = f"{self.path}: not written: {error.strerror}"
            raise AuditError(
                f"{told}; nothing is done that the audit trail does not say"
            ) from error

    def _append(self, what: str, facts: Mapping[str, Any]) -> Head:
        taken = sorted(set(facts) & set(_OWN))
        if taken:
            raise ValueError(f"the trail itself says {', '.join(taken)}")
        end = self._end()
        line: dict[str, Any] = {
            "number": end.head.lines + 1,
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "user": _user(),
            "host": socket.gethostname(),
            "what": what,
            **facts,
            "before": end.head.hash,
        }
        if end.cut_off:
            line["cut_off"] = hashlib.sha256(end.cut_off).hexdigest()
        line["hash"] = hash_of(line)
        with self.path.open("ab") as file:
            file.write((b"\n" if end.cut_off else b"") + _text(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        head = Head(line["number"], line["hash"])
        self._write_head(head)
        return head

    def _end(self) -> "_End":
        """Where the chain stands: by the file's last whole line, which the head must agree with."""
        head, last, rest = self.head(), None, b""
        if self.path.exists():
            last, rest = _last_line(self.path)
        if last is None:
            if head.lines:
                raise AuditError(_damaged(self.path, "its lines are gone"))
            return _End(head, rest)
        found = Head(int(last.get("number", 0)), str(last.get("hash")))
        # A process that was killed between line and head left the head one behind.
        follows = found.lines == head.lines + 1 and last.get("before") == head.hash
        if hash_of(last) != found.hash or not (found == head or follows):
            raise AuditError(_damaged(self.path, "its last line is not what was written last"))
        return _End(found, rest)

    def head(self) -> Head:
        """What the head file says.

        Raises:
            AuditError: it cannot be read.
        """
        if not self.head_path.exists():
            return Head(0, START)
        try:
            found = json.loads(self.head_path.read_bytes())
            return Head(int(found["lines"]), str(found["hash"]))
        except (ValueError, KeyError, TypeError) as error:
            raise AuditError(_damaged(self.head_path, "it is no head file")) from error

    def _write_head(self, head: Head) -> None:
        partial = self.head_path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8") as file:
            json.dump(head._asdict(), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.head_path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _End(NamedTuple):
    head: Head
    cut_off: bytes


def trail_of(project: ProjectConfig) -> Trail:
    """The project's trail: ``<data>/audit/<project>.jsonl``."""
    return Trail(project.data / "audit" / f"{project.project_name}.jsonl")


def hash_of(line: Mapping[str, Any]) -> str:
    """SHA-256 of everything a line says but its hash."""
    said = {name: value for name, value in line.items() if name != "hash"}
    return hashlib.sha256(_text(said)).hexdigest()


def _text(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, sort_keys=True, ensure_ascii=False, default=str).encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def _damaged(path: Path, how: str) -> str:
    return f"{path}: {how}; `nexusflow audit verify` says more"


def _last_line(path: Path) -> tuple[dict[str, Any] | None, bytes]:
    """The last whole line as it was written, and what a crash left after it."""
    with path.open("rb") as file:
        content = _tail(file)
    *whole, rest = content.split(b"\n")
    for line in reversed(whole):
        if not line:
            continue
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        return (found if isinstance(found, dict) else {}), rest
    return None, rest


def _tail(file: IO[bytes], block: int = 1 << 16) -> bytes:
    """The end of a file, with at least one whole line if it has one."""
    size, content = file.seek(0, os.SEEK_END), b""
    while size > 0 and content.count(b"\n") < 2:
        start = max(0, size - block)
        file.seek(start)
        content, size = file.read(size - start) + content, start
    # What the first line lost of its beginning is not a line.
    return content if size == 0 else content.partition(b"\n")[2]
