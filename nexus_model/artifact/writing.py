"""Writing a ``.nxf`` file piece by piece: whole or not at all, the same bytes for the same members.

A large member is given as a path or as tensors, so that it is never held whole.
"""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

from nexus_model.artifact.limits import (
    LARGEST_ARCHIVE_BYTES,
    LARGEST_DEFLATED,
    LARGEST_DEFLATED_TOTAL,
    LARGEST_RATIO,
    PIECE_BYTES,
    RATIO_MATTERS_FROM,
)
from nexus_model.artifact.manifest import MANIFEST, MOST_LISTED, RESERVED, Manifest, MemberSpec
from nexus_model.artifact.refusals import HEAD_BYTES, TENSORS, content_refusal, name_refusal
from nexus_model.artifact.stored_file import StoredFile, replacing
from nexus_model.artifact.tensor_table import TensorContent
from nexus_model.artifact.zip_layout import Entry, LayoutError, local_header, write_directory
from nexus_model.schema import ArtifactError

Given: TypeAlias = bytes | Path | TensorContent

_LEVEL = 6


class _Planned(NamedTuple):
    """What one pass over a member found out."""

    spec: MemberSpec
    crc: int
    packed: bytes | None


def write_archive(path: Path, members: Mapping[str, Given]) -> str:
    """Write the members and their manifest, whole or not at all, and return the content hash.

    The same members give the same bytes. A file that was there is replaced at the last moment.

    Raises:
        ArtifactError: a member would be refused when it is read, or changed while it was written.
    """
    path = Path(path)
    _check_names(path, members)
    planned: dict[str, _Planned] = {}
    room = LARGEST_DEFLATED_TOTAL
    for name in sorted(members):
        planned[name] = plan = _plan(path, name, members[name], room)
        room -= 0 if plan.packed is None else plan.spec.size_bytes
    total = sum(plan.spec.size_bytes for plan in planned.values())
    if total > LARGEST_ARCHIVE_BYTES:
        raise ArtifactError(f"{path}: has {total} bytes, allowed are {LARGEST_ARCHIVE_BYTES}")
    manifest = Manifest.of_specs({name: plan.spec for name, plan in planned.items()})
    head = manifest.to_json()
    try:
        with replacing(path) as file:
            entries = [_put(file, path, MANIFEST, head, _plan(path, MANIFEST, head, 2**30))]
            entries += [_put(file, path, name, members[name], planned[name]) for name in planned]
            write_directory(entries, file.write)
    except LayoutError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return manifest.content_hash


def _check_names(path: Path, members: Mapping[str, Given]) -> None:
    for name in members:
        refusal = "is written by the archive" if name in RESERVED else name_refusal(name)
        if refusal:
            raise ArtifactError(f"{path}: {name!r}: {refusal}")
    if len({name.lower() for name in members}) < len(members):
        raise ArtifactError(f"{path}: names of members must differ in more than case")
    if len(members) > MOST_LISTED:
        raise ArtifactError(f"{path}: has {len(members)} members, allowed are {MOST_LISTED}")


def _plan(path: Path, name: str, given: Given, room: int) -> _Planned:
    crc, digest, size, head = 0, hashlib.sha256(), 0, b""
    for piece in _pieces(given):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        digest.update(piece)
        head = head if len(head) >= HEAD_BYTES else (head + piece)[:HEAD_BYTES]
    if refusal := content_refusal(name, head, size):
        raise ArtifactError(f"{path}: {name!r}: {refusal}")
    spec = MemberSpec(sha256=digest.hexdigest(), size_bytes=size)
    # Weights hardly shrink; what would shrink like a zip bomb must not look like one.
    if name.endswith(TENSORS) or size > min(room, LARGEST_DEFLATED):
        return _Planned(spec, crc, None)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join([packer.compress(piece) for piece in _pieces(given)] + [packer.flush()])
    bloated = size >= RATIO_MATTERS_FROM and size > len(packed) * LARGEST_RATIO // 2
    return _Planned(spec, crc, None if bloated else packed)


def _put(file: BinaryIO, path: Path, name: str, given: Given, plan: _Planned) -> Entry:
    size, packed = plan.spec.size_bytes, plan.packed
    length = size if packed is None else len(packed)
    entry = Entry(name, packed is not None, plan.crc, length, size, file.tell())
    file.write(local_header(entry))
    if packed is not None:
        file.write(packed)
        return entry
    digest = hashlib.sha256()
    for piece in _pieces(given):
        digest.update(piece)
        file.write(piece)
    if digest.hexdigest() != plan.spec.sha256:
        raise ArtifactError(f"{path}: {name!r} was changed while it was written")
    return entry


def _pieces(given: Given) -> Iterator[bytes]:
    match given:
        case Path():
            stored = StoredFile(given)
            for place in range(0, stored.size, PIECE_BYTES):
                yield stored.read_at(place, min(PIECE_BYTES, stored.size - place))
        case TensorContent():
            yield from given.pieces()
        case _:
            for place in range(0, len(given), PIECE_BYTES):
                yield given[place : place + PIECE_BYTES]
