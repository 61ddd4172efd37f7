"""Zips made by hand, field by field, so that anything can be wrong with them."""

import json
import struct
import zlib

from nexus_model.artifact.manifest import Manifest

LOCAL, CENTRAL, END = (
    struct.Struct("<4s5H3L2H"),
    struct.Struct("<4s6H3L5H2L"),
    struct.Struct("<4s4H2LH"),
)


def entry(name, content, *, deflate=False, **changes):
    """One member; ``changes`` are fields of both headers, or of one: ``local_x``, ``central_x``."""
    raw = name if isinstance(name, bytes) else name.encode()
    packed = zlib.compress(content, 6, wbits=-15) if deflate else content
    fields = {
        "version": 20, "flags": 0, "method": 8 if deflate else 0, "time": 0, "date": 33,
        "crc": zlib.crc32(content), "packed": len(packed), "size": len(content), "name": raw,
        "extra": b"", "made": 0x314, "comment": b"", "disk": 0, "internal": 0,
        "attributes": 0o100644 << 16, "offset": None, "data": packed,
    }  # fmt: skip
    both = {key: value for key, value in changes.items() if key in fields}
    told = {key: value for key, value in changes.items() if key not in fields}
    assert all(key.startswith(("local_", "central_")) for key in told)
    return fields | both | told


def _side(fields, side):
    cut = len(side) + 1
    return fields | {key[cut:]: v for key, v in fields.items() if key.startswith(f"{side}_")}


def _shared(f):
    return (
        f["version"], f["flags"], f["method"], f["time"], f["date"], f["crc"], f["packed"],
        f["size"], len(f["name"]), len(f["extra"]),
    )  # fmt: skip


def raw_zip(entries, *, before=b"", between=b"", after=b"", **end):
    """The file; ``end`` are fields of the end record."""
    body, directory = before, b""
    for given in entries:
        local, central = _side(given, "local"), _side(given, "central")
        place = len(body) if central["offset"] is None else central["offset"]
        body += LOCAL.pack(b"PK\x03\x04", *_shared(local)) + local["name"] + local["extra"]
        body += given["data"]
        directory += CENTRAL.pack(
            b"PK\x01\x02", central["made"], *_shared(central), len(central["comment"]),
            central["disk"], central["internal"], central["attributes"], place,
        ) + central["name"] + central["extra"] + central["comment"]  # fmt: skip
    count = len(entries)
    told = {
        "disk": 0, "first_disk": 0, "here": count, "count": count, "length": len(directory),
        "place": len(body) + len(between), "comment": 0,
    } | end  # fmt: skip
    return body + between + directory + END.pack(b"PK\x05\x06", *told.values()) + after


def manifest_of(members, **changes):
    """The manifest's bytes, with keys changed."""
    return json.dumps(Manifest.of(dict(members)).model_dump() | changes).encode()


def nxf_of(members, *, extra=(), **options):
    """A right file of these members, and of ``extra`` entries the manifest does not know."""
    entries = [entry("manifest.json", manifest_of(members), deflate=True)]
    entries += [entry(name, content) for name, content in members.items()]
    return raw_zip([*entries, *extra], **options)


def tensors_of(header, numbers=b""):
    """Safetensors with this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers
