"""Records: what was made from what, so that unchanged work is recognised and not done again."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from nexus_model.schema import Record
from nexus_pipeline.steps.intact import Known
from nexus_pipeline.steps.stored import Stored

UNFINISHED = "unfinished"
_LOG = logging.getLogger(__name__)


class MadeRecord(Record):
    """One materialization: the fingerprint of its inputs and the reference to its output.

    What the fingerprint is of is kept too, so that lineage needs nothing but records: code version,
    configuration, data versions by key of what it was made from, and the commit it was made at.
    """

    key: str
    fingerprint: str
    stored: Stored
    run_id: str
    tracking_run_id: str = ""
    seconds: float = 0.0
    shown: dict[str, Any] = Field(default_factory=dict)
    code_version: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    upstream: dict[str, str] = Field(default_factory=dict)
    commit: str = ""
    made_at: str = ""
    files: Known = Field(default_factory=dict)

    @property
    def data_version(self) -> str:
        """What downstream compares."""
        return self.stored.sha256[:32] if self.fingerprint else UNFINISHED


class Records:
    """One JSON file per key under a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> MadeRecord | None:
        """The last record of a key, or None; a damaged one says nothing, so it is as none."""
        path = self._path(key)
        try:
            return MadeRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            _LOG.warning("%s is damaged: what it is of is made again", path)
            return None

    def unfinish(self, record: MadeRecord) -> None:
        """What the record is of is about to be written over: until then it is of nothing."""
        self.write(record.model_copy(update={"fingerprint": ""}))

    def write(self, record: MadeRecord) -> None:
        """Replace the record of its key, atomically."""
        path = self._path(record.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(record.model_dump_json(indent=1), encoding="utf-8")
        partial.replace(path)

    def versions(self, keys: Iterable[str]) -> dict[str, str]:
        """Data version of every key that has a record."""
        found = {key: self.read(key) for key in keys}
        return {key: record.data_version for key, record in found.items() if record}

    def days_of(self, key: str) -> tuple[str, ...]:
        """Days a key has records of, in order."""
        before = f"{key.replace('/', '.')}."
        found = (path.stem.removeprefix(before) for path in self.folder.glob(f"{before}*.json"))
        return tuple(sorted(found))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key.replace('/', '.')}.json"


def fingerprint(code: str, config: Mapping[str, Any], upstream: Mapping[str, str]) -> str:
    """SHA-256 over a stage's code version, the configuration it reads, and what it is made from.

    >>> fingerprint("1", {}, {"a": "x"}) == fingerprint("1", {}, {"a": "y"})
    False
    """
    said = json.dumps([code, config, upstream], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def code_version(*parts: str) -> str:
    """Hash of the source files of packages and modules, given as paths below this repository.

    ``code_version("nexus_model/align", "nexus_pipeline/steps/align.py")``.
    """
    root, seen = Path(__file__).resolve().parents[2], hashlib.sha256()
    for part in parts:
        place = root / part
        files = [place] if place.is_file() else sorted(place.rglob("*.py"))
        if not files or not files[0].is_file():
            raise ValueError(f"no source at {part!r}")
        for path in files:
            seen.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return seen.hexdigest()[:16]
