"""The ``.nxf`` container: a zip of plain members that is checked whole before anything is used.

Opening reads bytes, compares hashes and parses JSON and safetensors; nothing in the file is
executed. Everything wrong with a file is an ``ArtifactError`` naming the file and the reason.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from nexus_model.artifact.manifest import (
    MANIFEST,
    Manifest,
    content_refusal,
    describe,
    name_refusal,
    parse_json,
    parse_manifest,
)
from nexus_model.schema import ArtifactError

LARGEST_ARCHIVE_BYTES = 4 * 2**30

# Inside ``Archive`` the name ``bytes`` is a method.
Content = bytes

_LARGEST_MANIFEST = 16 * 2**20
_LARGEST_RATIO = 200
_RATIO_MATTERS_FROM = 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class Archive:
    """The checked members of a ``.nxf`` file, held in memory."""

    def __init__(self, path: Path, manifest: Manifest, members: Mapping[str, Content]) -> None:
        self.path = path
        self.manifest = manifest
        self._members = dict(members)

    @property
    def names(self) -> tuple[str, ...]:
        """Member names in order, without the manifest."""
        return tuple(sorted(self._members))

    @property
    def content_hash(self) -> str:
        """One hash of all names and contents."""
        return self.manifest.content_hash

    def bytes(self, name: str) -> Content:
        """A member's content."""
        if name not in self._members:
            raise ArtifactError(f"{self.path}: has no member {name!r}; it has {list(self.names)}")
        return self._members[name]

    def json(self, name: str) -> Any:
        """A member parsed as JSON."""
        return parse_json(self.bytes(name), f"{self.path}: {name}")

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """A member parsed as safetensors."""
        content = self.bytes(name)
        try:
            tensors: dict[str, torch.Tensor] = load_tensors(content)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ArtifactError(f"{self.path}: {name}: not valid safetensors: {error}") from error
        return tensors


def write_archive(path: Path, members: Mapping[str, bytes]) -> str:
    """Write the members and their manifest, whole or not at all, and return the content hash.

    The same members give the same bytes. A file that was there is replaced at the last moment.
    """
    for name, content in members.items():
        refusal = name_refusal(name) or content_refusal(name, content)
        if refusal or name == MANIFEST:
            raise ArtifactError(f"{path}: {name!r}: {refusal or 'is written by the archive'}")
    manifest = Manifest.of(members)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("wb") as file:
            with zipfile.ZipFile(file, "w") as target:
                _put(target, MANIFEST, manifest.to_json())
                for name in sorted(members):
                    _put(target, name, members[name])
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest.content_hash


def _put(target: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    entry.compress_type = _compression(name, content)
    target.writestr(entry, content, compresslevel=6)


def _compression(name: str, content: bytes) -> int:
    # Weights hardly shrink; what would shrink like a zip bomb must not look like one.
    if name.endswith(".safetensors"):
        return zipfile.ZIP_STORED
    if len(content) >= _RATIO_MATTERS_FROM:
        sample = len(zlib.compress(content, 6))
        if len(content) > sample * _LARGEST_RATIO // 2:
            return zipfile.ZIP_STORED
    return zipfile.ZIP_DEFLATED


def read_archive(path: Path, *, limit_bytes: int = LARGEST_ARCHIVE_BYTES) -> Archive:
    """Read and check a whole ``.nxf`` file.

    Raises:
        ArtifactError: missing, damaged, changed, unsafe, too large unpacked, or too new.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise ArtifactError(f"{path}: not a .nxf file (not a zip)")
            with zipfile.ZipFile(file) as source:
                return _read(path, source, limit_bytes)
    except ArtifactError:
        raise
    except _DAMAGE as error:
        raise ArtifactError(f"{path}: damaged or truncated: {error}") from error


def _read(path: Path, source: zipfile.ZipFile, limit_bytes: int) -> Archive:
    entries = _entries(path, source, limit_bytes)
    if MANIFEST not in entries:
        raise ArtifactError(f"{path}: has no {MANIFEST}")
    if entries[MANIFEST].file_size > _LARGEST_MANIFEST:
        raise ArtifactError(f"{path}: {MANIFEST} is larger than {_LARGEST_MANIFEST} bytes")
    manifest = parse_manifest(_content(path, source, entries.pop(MANIFEST)), str(path))
    _same_names(path, set(manifest.members), set(entries))
    members = {}
    for name, spec in manifest.members.items():
        if entries[name].file_size != spec.size_bytes:
            raise ArtifactError(
                f"{path}: {name}: has {entries[name].file_size} bytes, "
                f"the manifest says {spec.size_bytes}"
            )
        members[name] = content = _content(path, source, entries[name])
        if describe(content) != spec:
            raise ArtifactError(f"{path}: {name}: content was changed (SHA-256 differs)")
        if refusal := content_refusal(name, content):
            raise ArtifactError(f"{path}: {name}: {refusal}")
    return Archive(path, manifest, members)


def _entries(path: Path, source: zipfile.ZipFile, limit_bytes: int) -> dict[str, zipfile.ZipInfo]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in source.infolist():
        if refusal := name_refusal(entry.filename) or _entry_refusal(entry):
            raise ArtifactError(f"{path}: {entry.filename!r}: {refusal}")
        if entry.filename in entries:
            raise ArtifactError(f"{path}: {entry.filename!r} occurs twice")
        entries[entry.filename] = entry
    total = sum(entry.file_size for entry in entries.values())
    if total > limit_bytes:
        raise ArtifactError(f"{path}: unpacks to {total} bytes, allowed are {limit_bytes}")
    return entries


def _entry_refusal(entry: zipfile.ZipInfo) -> str | None:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {entry.compress_type} is not allowed"
    if entry.flag_bits & 0x1:
        return "is encrypted"
    bloated = entry.file_size > _LARGEST_RATIO * max(entry.compress_size, 1)
    if bloated and entry.file_size > _RATIO_MATTERS_FROM:
        return f"unpacks {entry.compress_size} bytes to {entry.file_size}: refused as a zip bomb"
    return None


def _content(path: Path, source: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with source.open(entry) as stream:
        # Never more than the stated size, whatever the compressed stream would give.
        content = stream.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ArtifactError(
            f"{path}: {entry.filename}: gave {len(content)} bytes, its entry says {entry.file_size}"
        )
    return content


def _same_names(path: Path, promised: set[str], found: set[str]) -> None:
    if missing := sorted(promised - found):
        raise ArtifactError(f"{path}: members are missing: {missing}")
    if extra := sorted(found - promised):
        raise ArtifactError(f"{path}: members are not in the manifest: {extra}")
