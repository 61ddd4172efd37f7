"""A member's content piece by piece, checked as it passes."""

import hashlib
import zlib
from collections.abc import Iterator

from nexus_model.artifact.limits import PIECE_BYTES
from nexus_model.artifact.manifest import MemberSpec
from nexus_model.artifact.stored_file import ReadAt
from nexus_model.artifact.zip_layout import Entry
from nexus_model.schema import ArtifactError


def checked_pieces(
    file: ReadAt, entry: Entry, spec: MemberSpec | None, where: str
) -> Iterator[bytes]:
    """The pieces of a member's content, to be used only once all have come.

    Raises:
        ArtifactError: at the end, if the content is not what the entry and ``spec`` say.
    """
    crc, digest, size = 0, hashlib.sha256(), 0
    for piece in _inflated(file, entry, where) if entry.deflated else packed_pieces(file, entry):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        digest.update(piece)
        yield piece
    if size != entry.size or crc != entry.crc:
        raise ArtifactError(f"{where}: damaged or truncated: {entry.name}: CRC or size differs")
    if spec is not None and (size != spec.size_bytes or digest.hexdigest() != spec.sha256):
        raise ArtifactError(f"{where}: {entry.name}: content was changed (SHA-256 differs)")


def packed_pieces(file: ReadAt, entry: Entry) -> Iterator[bytes]:
    """What is stored of a member, unpacked and checked by nobody."""
    for place in range(entry.start, entry.end, PIECE_BYTES):
        yield file.read_at(place, min(PIECE_BYTES, entry.end - place))


def _inflated(file: ReadAt, entry: Entry, where: str) -> Iterator[bytes]:
    unpack, left = zlib.decompressobj(-zlib.MAX_WBITS), entry.size
    try:
        for packed in packed_pieces(file, entry):
            if unpack.eof:
                raise zlib.error("goes on after its end")
            rest, full = packed, True
            while (rest or full) and not unpack.eof and left >= 0:
                # One byte more than stated is enough to know that it lies.
                asked = min(PIECE_BYTES, left + 1)
                piece = unpack.decompress(rest, asked)
                rest, left, full = unpack.unconsumed_tail, left - len(piece), len(piece) == asked
                if piece:
                    yield piece
    except zlib.error as error:
        raise ArtifactError(f"{where}: damaged or truncated: {entry.name}: {error}") from error
    if not unpack.eof or unpack.unused_data or left:
        raise ArtifactError(
            f"{where}: damaged or truncated: {entry.name}: does not unpack to {entry.size} bytes"
        )
