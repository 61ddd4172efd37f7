"""The ``.nxf`` container: a zip of plain members that is checked whole before anything is used.

Opening reads bytes, compares hashes and parses JSON and safetensors; nothing in the file is
executed. An ``Archive`` holds no contents: a member is read when it is asked for, and its hash
compared again, so what is used is what the manifest says, whoever writes to the file meanwhile.
Everything wrong with a file is an ``ArtifactError`` naming the file and the reason.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import torch

from nexus_model.artifact.encryption import EncryptedFile, EnvelopeKey, is_encrypted
from nexus_model.artifact.json_text import parse_json
from nexus_model.artifact.limits import (
    LARGEST_ARCHIVE_BYTES,
    LARGEST_JSON,
    LARGEST_MANIFEST,
    LARGEST_SIGNATURE,
)
from nexus_model.artifact.manifest import MANIFEST, RESERVED, SIGNATURE, Manifest, parse_manifest
from nexus_model.artifact.member_stream import checked_pieces, packed_pieces
from nexus_model.artifact.refusals import HEAD_BYTES, content_refusal
from nexus_model.artifact.signature import (
    PublicKey,
    Signature,
    SignatureError,
    check_signature,
    parse_signature,
)
from nexus_model.artifact.stored_file import ReadAt, StoredFile
from nexus_model.artifact.tensor_table import TensorReader, TensorTableError
from nexus_model.artifact.writing import write_archive
from nexus_model.artifact.zip_layout import Entry, LayoutError, read_layout
from nexus_model.schema import ArtifactError

__all__ = ["Archive", "open_archive", "read_archive", "write_archive"]

# Inside ``Archive`` the name ``bytes`` is a method.
Content = bytes


class Archive:
    """The members of an open ``.nxf`` file."""

    def __init__(
        self,
        path: Path,
        file: ReadAt,
        entries: dict[str, Entry],
        manifest: Manifest,
        manifest_bytes: Content,
        signature: Signature | None,
    ) -> None:
        self.path, self.manifest, self.manifest_bytes = path, manifest, manifest_bytes
        self.signature = signature
        self._file, self._entries = file, entries

    @property
    def names(self) -> tuple[str, ...]:
        """Member names in order, without the manifest and the signature."""
        return tuple(sorted(self.manifest.members))

    @property
    def content_hash(self) -> str:
        """One hash of all names and contents."""
        return self.manifest.content_hash

    def pieces(self, name: str) -> Iterator[Content]:
        """A member's content in pieces of at most a megabyte, without holding it.

        What was given may be used once the iterator has ended without an error.
        """
        if name not in self.manifest.members:
            raise ArtifactError(f"{self.path}: has no member {name!r}; it has {list(self.names)}")
        spec = self.manifest.members[name]
        return checked_pieces(self._file, self._entries[name], spec, str(self.path))

    def bytes(self, name: str) -> Content:
        """A member's content."""
        return b"".join(self.pieces(name))

    def json(self, name: str) -> Any:
        """A member parsed as JSON."""
        if (spec := self.manifest.members.get(name)) and spec.size_bytes > LARGEST_JSON:
            raise ArtifactError(
                f"{self.path}: {name}: JSON of {spec.size_bytes} bytes, allowed are {LARGEST_JSON}"
            )
        return parse_json(self.bytes(name), f"{self.path}: {name}")

    def tensors(self, name: str, only: Collection[str] | None = None) -> dict[str, torch.Tensor]:
        """A member parsed as safetensors; of a large one, ``only`` the tensors named are held."""
        pieces = self.pieces(name)
        reader = TensorReader(self.manifest.members[name].size_bytes, only)
        try:
            return reader.take(pieces)
        except TensorTableError as error:
            raise ArtifactError(f"{self.path}: {name}: {error}") from error

    def packed(self) -> Iterator[tuple[Entry, Iterator[Content]]]:
        """Every entry of the zip as it is stored, unchecked: to be copied."""
        for entry in self._entries.values():
            yield entry, packed_pieces(self._file, entry)

    def verify(self) -> None:
        """Compare every member with its hash, in the memory of one piece.

        Raises:
            ArtifactError: a member is damaged, changed or of a forbidden kind.
        """
        for name, spec in self.manifest.members.items():
            head = b""
            for piece in self.pieces(name):
                head = head if len(head) >= HEAD_BYTES else (head + piece)[:HEAD_BYTES]
            if refusal := content_refusal(name, head, spec.size_bytes):
                raise ArtifactError(f"{self.path}: {name}: {refusal}")


def read_archive(
    path: Path,
    *,
    limit_bytes: int = LARGEST_ARCHIVE_BYTES,
    require_signature: PublicKey | None = None,
    key: EnvelopeKey | None = None,
) -> Archive:
    """Open a ``.nxf`` file and check the whole of it.

    ``require_signature`` is the key it must be signed with, ``key`` opens an encrypted file.

    Raises:
        ArtifactError: missing, damaged, changed, unsafe, too large unpacked, too new, not signed
            as required, or encrypted and the key is missing or another.
    """
    archive = open_archive(
        path, limit_bytes=limit_bytes, require_signature=require_signature, key=key
    )
    archive.verify()
    return archive


def open_archive(
    path: Path,
    *,
    limit_bytes: int = LARGEST_ARCHIVE_BYTES,
    require_signature: PublicKey | None = None,
    key: EnvelopeKey | None = None,
) -> Archive:
    """As ``read_archive``, but each member is compared with its hash only when it is read."""
    path = Path(path)
    stored: ReadAt = StoredFile(path)
    if is_encrypted(stored):
        stored = EncryptedFile(stored, key, str(path))
    try:
        entries = read_layout(stored, limit_bytes)
    except LayoutError as error:
        raise ArtifactError(f"{path}: {error}") from error
    if MANIFEST not in entries:
        raise ArtifactError(f"{path}: has no {MANIFEST}")
    manifest_bytes = _small(path, stored, entries[MANIFEST], LARGEST_MANIFEST)
    signature = None
    if SIGNATURE in entries:
        content = _small(path, stored, entries[SIGNATURE], LARGEST_SIGNATURE)
        signature = parse_signature(content, str(path))
    if require_signature is not None:
        if signature is None:
            raise SignatureError(f"{path}: is not signed, and a signature is required")
        check_signature(signature, manifest_bytes, require_signature, str(path))
    manifest = parse_manifest(manifest_bytes, str(path))
    _check_members(path, manifest, entries)
    return Archive(path, stored, entries, manifest, manifest_bytes, signature)


def _small(path: Path, file: ReadAt, entry: Entry, limit_bytes: int) -> bytes:
    if entry.size > limit_bytes:
        raise ArtifactError(f"{path}: {entry.name} is larger than {limit_bytes} bytes")
    return b"".join(checked_pieces(file, entry, None, str(path)))


def _check_members(path: Path, manifest: Manifest, entries: dict[str, Entry]) -> None:
    promised, found = set(manifest.members), set(entries) - set(RESERVED)
    if missing := sorted(promised - found):
        raise ArtifactError(f"{path}: members are missing: {missing[:9]}")
    if extra := sorted(found - promised):
        raise ArtifactError(f"{path}: members are not in the manifest: {extra[:9]}")
    for name, spec in manifest.members.items():
        if entries[name].size != spec.size_bytes:
            raise ArtifactError(
                f"{path}: {name}: has {entries[name].size} bytes, "
                f"the manifest says {spec.size_bytes}"
            )
