"""The zip that a ``.nxf`` file is: one strict form, read before anything is unpacked.

Entries stand one after another from the first byte on, the central directory follows at once, the
end record ends the file. So nothing can overlap, hide between, before or behind, and no reader
sees other members than ours.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple, Self

from nexus_model.artifact.json_text import told
from nexus_model.artifact.limits import (
    LARGEST_DEFLATED,
    LARGEST_DEFLATED_TOTAL,
    LARGEST_RATIO,
    LONGEST_NAME,
    MOST_MEMBERS,
    RATIO_MATTERS_FROM,
)
from nexus_model.artifact.refusals import name_refusal
from nexus_model.artifact.stored_file import ReadAt

STORED, DEFLATED = 0, 8

# What a local header and a central record say alike: version, flags, method, time, date, CRC,
# packed size, size, lengths of name and extra field.
_SHARED = struct.Struct("<5H3L2H")
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# Of a central record: lengths of comment, disk, internal and external attributes, place.
_TAIL = struct.Struct("<3H2L")
_END_REST = struct.Struct("<4H2LH")
_LOCAL_BYTES, _CENTRAL_BYTES, _END_BYTES = 30, 46, 22

_MADE_BY_UNIX, _VERSION = (3 << 8) | 20, 20
_FIRST_OF_1980 = (1 << 5) | 1
_PLAIN_FILE = 0o100644 << 16
# Hints of the packer, and "the name is UTF-8".
_HARMLESS_FLAGS = 0x0806
_ENCRYPTED_FLAGS = 0x2041
_LARGEST_PLACE = 2**32 - 1


class Entry(NamedTuple):
    """Where a member is and what its content must be."""

    name: str
    deflated: bool
    crc: int
    packed: int
    size: int
    header: int

    @classmethod
    def stored(cls, name: str, content: bytes, header: int) -> Self:
        """An entry whose content is stored as it is."""
        size = len(content)
        return cls(
            name, deflated=False, crc=zlib.crc32(content), packed=size, size=size, header=header
        )

    @property
    def start(self) -> int:
        """The place of the content."""
        return self.header + _LOCAL_BYTES + len(self.name)

    @property
    def end(self) -> int:
        """The place behind the content."""
        return self.start + self.packed


class LayoutError(ValueError):
    """The file is not the zip this format allows."""


def read_layout(file: ReadAt, limit_bytes: int) -> dict[str, Entry]:
    """The members by name, in the order they stand.

    Raises:
        LayoutError: why the file is refused.
    """
    if file.size < 4 or file.read_at(0, 4) != _LOCAL:
        raise LayoutError("not a .nxf file (not a zip)")
    count, place, length = _end_record(file)
    directory = file.read_at(place, length)
    entries: dict[str, Entry] = {}
    seen: set[str] = set()
    at = running = 0
    for _ in range(count):
        entry, at = _entry(directory, at, running)
        if entry.name.lower() in seen:
            again = "occurs twice" if entry.name in entries else "differs from another in case only"
            raise LayoutError(f"'{entry.name}' {again}")
        _check_local(file, directory, at, entry)
        seen.add(entry.name.lower())
        entries[entry.name], running = entry, entry.end
    if at != length or running != place:
        raise LayoutError("damaged or truncated: bytes between the members and their directory")
    _check_sizes(entries, limit_bytes)
    return entries


def _end_record(file: ReadAt) -> tuple[int, int, int]:
    """Number of members, place and length of the directory."""
    end = file.size - _END_BYTES
    tail = file.read_at(end, _END_BYTES) if end >= 0 else b""
    if tail[:4] != _END:
        raise LayoutError("damaged or truncated: does not end with a zip's end record")
    disk, first_disk, here, count, length, place, comment = _END_REST.unpack(tail[4:])
    if count > MOST_MEMBERS:
        raise LayoutError(f"has {count} members, allowed are {MOST_MEMBERS}")
    if disk or first_disk or here != count or comment:
        raise LayoutError("damaged or truncated: its end record has several disks or a comment")
    if place + length != end or length > count * (_CENTRAL_BYTES + LONGEST_NAME):
        raise LayoutError("damaged or truncated: the directory is not where the end record says")
    return count, place, length


def _entry(directory: bytes, at: int, running: int) -> tuple[Entry, int]:
    """The entry of the record at ``at``, and the place behind the record."""
    fixed = directory[at : at + _CENTRAL_BYTES]
    if len(fixed) < _CENTRAL_BYTES or fixed[:4] != _CENTRAL:
        raise LayoutError("damaged or truncated: a directory record is broken")
    version, flags, method, _, _, crc, packed, size, length, extra = _SHARED.unpack(fixed[6:32])
    comment, disk, _, attributes, header = _TAIL.unpack(fixed[32:])
    raw = directory[at + _CENTRAL_BYTES : at + _CENTRAL_BYTES + length]
    name = raw.decode("latin-1")
    refusal = (
        ("damaged or truncated: name is cut off" if len(raw) < length else name_refusal(name))
        or _feature_refusal(version, flags, method)
        or _attribute_refusal(attributes)
    )
    if refusal:
        raise LayoutError(f"'{told(name)}': {refusal}")
    if extra or comment or disk:
        raise LayoutError(f"'{name}': extra fields, comments and other disks are not allowed")
    if header != running:
        raise LayoutError(f"damaged or truncated: '{name}' does not follow the member before it")
    if method == STORED and packed != size:
        raise LayoutError(f"damaged or truncated: '{name}' is stored but changes its size")
    return Entry(name, method == DEFLATED, crc, packed, size, header), at + 46 + length


def _feature_refusal(version: int, flags: int, method: int) -> str | None:
    if flags & _ENCRYPTED_FLAGS:
        return "is encrypted by the zip's own means"
    if method not in (STORED, DEFLATED):
        return f"compression method {method} is not allowed"
    if version > _VERSION or flags & ~_HARMLESS_FLAGS:
        return f"needs features of zip that are not allowed (version {version}, flags {flags:#x})"
    return None


def _attribute_refusal(attributes: int) -> str | None:
    kind = (attributes >> 16) & 0o170000
    plain = kind in (0, 0o100000) and not attributes & 0x10
    return None if plain else "is a link, folder or device, not a plain file"


def _check_local(file: ReadAt, directory: bytes, at: int, entry: Entry) -> None:
    """The header before the content must say what the directory says (record ends at ``at``)."""
    name = entry.name.encode("latin-1")
    record = at - len(name) - _CENTRAL_BYTES
    shared = directory[record + 6 : record + 32]
    if file.read_at(entry.header, _LOCAL_BYTES + len(name)) != _LOCAL + shared + name:
        raise LayoutError(f"damaged or truncated: '{entry.name}' is described in two ways")


def _check_sizes(entries: dict[str, Entry], limit_bytes: int) -> None:
    total = sum(entry.size for entry in entries.values())
    if total > limit_bytes:
        raise LayoutError(f"unpacks to {total} bytes, allowed are {limit_bytes}")
    deflated = [entry for entry in entries.values() if entry.deflated]
    for entry in deflated:
        bloated = entry.size > LARGEST_RATIO * max(entry.packed, 1)
        if (bloated and entry.size > RATIO_MATTERS_FROM) or entry.size > LARGEST_DEFLATED:
            raise LayoutError(
                f"'{entry.name}': unpacks {entry.packed} bytes to {entry.size}: "
                f"refused as a zip bomb"
            )
    if (unpacked := sum(entry.size for entry in deflated)) > LARGEST_DEFLATED_TOTAL:
        raise LayoutError(
            f"deflated members unpack to {unpacked} bytes, allowed are {LARGEST_DEFLATED_TOTAL}: "
            f"refused as a zip bomb"
        )


def _shared(entry: Entry) -> bytes:
    method = DEFLATED if entry.deflated else STORED
    return _SHARED.pack(
        _VERSION, 0, method, 0, _FIRST_OF_1980, entry.crc, entry.packed, entry.size,
        len(entry.name), 0,
    )  # fmt: skip


def local_header(entry: Entry) -> bytes:
    """What stands before a member's content."""
    return _LOCAL + _shared(entry) + entry.name.encode("ascii")


def write_directory(entries: list[Entry], put: Callable[[bytes], object]) -> None:
    """Write what stands behind the last member.

    Raises:
        LayoutError: the file would be larger than a zip's places go.
    """
    place = length = entries[-1].end if entries else 0
    if place > _LARGEST_PLACE - 2**22:
        raise LayoutError(f"the file would have {place} bytes, allowed are less than 4 GiB")
    for entry in entries:
        tail = _TAIL.pack(0, 0, 0, _PLAIN_FILE, entry.header)
        made = _MADE_BY_UNIX.to_bytes(2, "little")
        put(_CENTRAL + made + _shared(entry) + tail + entry.name.encode("ascii"))
        length += _CENTRAL_BYTES + len(entry.name)
    count = len(entries)
    put(_END + _END_REST.pack(0, 0, count, count, length - place, place, 0))
