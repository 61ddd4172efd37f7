"""Mutated ``.nxf`` files, and a process that opens them under an audit hook.

Run as a program: ``nxf_mutants.py FOLDER COUNT SEED`` prints what happened as JSON. Every mutant is
either refused with an ``ArtifactError`` or read as exactly what was written.
"""

import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from tiny_nxf import entry, manifest_of, nxf_of, raw_zip, tensors_of

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.encryption import EnvelopeKey, encrypt_file
from nexus_model.artifact.manifest import Manifest
from nexus_model.artifact.signature import SigningKey
from nexus_model.artifact.signing import sign_archive
from nexus_model.artifact.tensor_table import TensorContent
from nexus_model.schema import ArtifactError

KEY = EnvelopeKey(bytes(range(32)))
NUMBERS = torch.arange(6.0)
MEMBERS = {
    "config.json": json.dumps({"width": 8, "tables": {"a": [1, 2.5, None, True]}}).encode(),
    "sql/races.sql": b"SELECT 1 AS one\n" * 9,
    "weights.safetensors": b"".join(
        TensorContent({"w": NUMBERS.reshape(2, 3), "b": torch.tensor([True, False])}).pieces()
    ),
}
OTHERS = {"config.json": b"[]", "x.safetensors": tensors_of({})}
# Field by place in a local header, a directory record and the end record: (place, bytes).
LOCAL = [(4, 2), (6, 2), (8, 2), (10, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 1)]
CENTRAL = [(4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2),
           (34, 2), (36, 2), (38, 4), (42, 4), (46, 1)]  # fmt: skip
END = [(4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)]
JUNK = [None, True, -1, 0, 1, 2**31, 2**63, 10**18, 1.5, "", "1.0", "9.9", "\ud800", "__reduce__",
        [], {}, [[]], {"a": {}}, "../x", "x" * 400, [0, 4], float("nan")]  # fmt: skip


def originals(folder):
    """Right files as bytes, by name; and the signer of the signed one."""
    write_archive(folder / "plain", MEMBERS)
    write_archive(folder / "signed", MEMBERS)
    signer = SigningKey.generate()
    sign_archive(folder / "signed", signer)
    write_archive(folder / "other", OTHERS)
    encrypt_file(folder / "plain", folder / "encrypted", KEY)
    found = {n: (folder / n).read_bytes() for n in ("plain", "signed", "other", "encrypted")}
    return found | {"by hand": nxf_of(MEMBERS)}, signer.public


def flipped(content, rng, _):
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)


def overwritten(content, rng, _):
    low, high = _slice(content, rng)
    run = rng.choice((bytes(high - low), b"\xff" * (high - low), rng.randbytes(high - low)))
    content[low:high] = run


def cut(content, rng, _):
    del content[rng.randrange(len(content)) :]


def cut_before(content, rng, _):
    del content[: rng.randrange(1, len(content))]


def deleted(content, rng, _):
    low, high = _slice(content, rng)
    del content[low:high]


def repeated(content, rng, _):
    low, high = _slice(content, rng)
    place = rng.randrange(len(content))
    content[place:place] = content[low:high] * rng.choice((1, 1, 2, 50))


def swapped(content, rng, _):
    a, b, c = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    content[a:c] = content[b:c] + content[a:b]


def inserted(content, rng, _):
    place = rng.choice((0, len(content), rng.randrange(len(content))))
    content[place:place] = rng.choice((b"\x00", b"PK\x03\x04", b"PK\x05\x06", rng.randbytes(30)))


def spliced(content, rng, every):
    other = rng.choice(every)
    content[rng.randrange(len(content)) :] = other[rng.randrange(len(other)) :]


def header_field(content, rng, _):
    """One field of one header has another value."""
    _set(content, rng, *rng.choice(_fields(content)))


def same_lie_twice(content, rng, _):
    """A field of a member's two headers has the same other value."""
    member = rng.randrange(content.count(b"PK\x01\x02") or 1)
    local, central = _nth(content, b"PK\x03\x04", member), _nth(content, b"PK\x01\x02", member)
    at, size = rng.choice(LOCAL)
    if min(local, central) < 0 or central + at + 2 + size > len(content):
        return
    _set(content, rng, local + at, size)
    behind = 16 if at == 30 else 2
    content[central + at + behind : central + at + behind + size] = content[
        local + at : local + at + size
    ]


def manifest_edited(content, rng, _):
    """Another manifest in a right zip."""
    stated = json.loads(manifest_of(MEMBERS))
    for _ in range(rng.choice((1, 1, 2))):
        _edit(stated, rng)
    text = _text(stated, rng)
    content[:] = raw_zip(
        [entry("manifest.json", text, deflate=rng.random() < 0.5)]
        + [entry(name, given) for name, given in MEMBERS.items()]
    )


def tensors_edited(content, rng, _):
    """Another safetensors header in a right archive."""
    stated = {
        "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BOOL", "shape": [2], "data_offsets": [24, 26]},
    }
    for _ in range(rng.choice((1, 1, 2))):
        _edit(stated, rng)
    made = tensors_of(_text(stated, rng), rng.randbytes(26))
    content[:] = nxf_of({**MEMBERS, "weights.safetensors": made})


def json_edited(content, rng, _):
    """Another JSON member in a right archive."""
    stated = json.loads(MEMBERS["config.json"])
    _edit(stated, rng)
    content[:] = nxf_of({**MEMBERS, "config.json": _text(stated, rng)})


def _slice(content, rng):
    low = rng.randrange(len(content))
    return low, min(len(content), low + rng.choice((1, 4, 30, len(content))))


def _nth(content, mark, number):
    place = -1
    for _ in range(number + 1):
        place = content.find(mark, place + 1)
    return place


def _fields(content):
    found = [(0, 1)]
    for mark, fields in ((b"PK\x03\x04", LOCAL), (b"PK\x01\x02", CENTRAL), (b"PK\x05\x06", END)):
        place = content.find(mark)
        while place >= 0:
            found += [(place + at, size) for at, size in fields if place + 50 < len(content)]
            found += [(place + at, size) for at, size in fields if mark == b"PK\x05\x06"]
            place = content.find(mark, place + 1)
    return found


def _set(content, rng, place, size):
    old = int.from_bytes(content[place : place + size], "little")
    top = 2 ** (8 * size) - 1
    values = (
        0,
        1,
        top,
        top - 1,
        old + 1,
        old - 1,
        old * 2,
        old ^ 8,
        len(content),
        rng.getrandbits(32),
    )
    content[place : place + size] = (rng.choice(values) & top).to_bytes(size, "little")


def _edit(stated, rng):
    """Change one thing somewhere in a tree of JSON."""
    while True:
        keys = list(stated) if isinstance(stated, dict) else range(len(stated))
        key = rng.choice(keys) if keys else None
        inner = stated[key] if key is not None else None
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.8:
            stated = inner
            continue
        if isinstance(stated, dict) and rng.random() < 0.3:
            stated[str(rng.choice(JUNK))] = rng.choice(JUNK)
        elif key is not None and rng.random() < 0.3:
            del stated[key]
        elif key is not None:
            stated[key] = rng.choice(JUNK)
        return


def _text(stated, rng):
    text = json.dumps(stated).encode()
    return rng.choice(
        (text, text, text, text, text[: rng.randrange(len(text))], text + b"x", b"[" * 500 + text,
         text.replace(b"{", b'{"members": {}, ', 1), text.decode().encode("utf-16"))
    )  # fmt: skip


MUTATORS = (
    flipped, overwritten, cut, cut_before, deleted, repeated, swapped, inserted, spliced,
    header_field, header_field, same_lie_twice, manifest_edited, tensors_edited, json_edited,
)  # fmt: skip
# These write right hashes of other content: what is read is that content.
REHASHED = (tensors_edited, json_edited)


def outcome(path, kind, options):
    """``refused``, ``same`` or ``other content``; anything else is raised."""
    try:
        archive = read_archive(path, **options)
        contents = {name: archive.bytes(name) for name in archive.names}
    except ArtifactError:
        return "refused"
    assert archive.content_hash == Manifest.of(contents).content_hash
    for name in archive.names:
        try:
            archive.tensors(name) if name.endswith("tensors") else archive.json(name)
        except ArtifactError:
            continue
    if contents == MEMBERS or (contents == OTHERS and "require_signature" not in options):
        return "same"
    assert "require_signature" not in options, "other content was read as signed"
    assert kind in REHASHED, f"{kind.__name__} was read as other content"
    return "other content"


class Watch:
    """Hears what the interpreter does while a file is opened."""

    FORBIDDEN = (
        "exec", "compile", "import", "marshal.", "pickle.", "os.system", "os.exec", "os.fork",
        "os.posix_spawn", "os.spawn", "subprocess.", "socket.", "ctypes.", "shutil.", "os.remove",
        "os.rename", "os.mkdir", "os.chmod", "os.symlink", "os.link", "tempfile.", "code.",
    )  # fmt: skip

    def __init__(self):
        self.path, self.heard = None, Counter()
        sys.addaudithook(self.hear)

    def hear(self, event, given):
        if self.path is None:
            return
        # A number is a file that was opened, and heard, before.
        other = event == "open" and not isinstance(given[0], int)
        if (other and (str(given[0]) != self.path or given[2] & 3)) or event.startswith(
            self.FORBIDDEN
        ):
            self.heard[f"{event} {str(given)[:100]}"] += 1


def run(folder, count, seed):
    """Open ``count`` mutants; what happened, by kind."""
    rng, watch, found = random.Random(seed), Watch(), Counter()
    every, signer = originals(folder)
    names, slowest = list(every), 0.0
    path = folder / "mutant.nxf"
    for number in range(-50, count):
        name, kind = rng.choice(names), rng.choice(MUTATORS)
        content = bytearray(every[name])
        kind(content, rng, list(every.values()))
        path.write_bytes(content)
        options = {"require_signature": signer} if name == "signed" else {}
        options |= {"key": KEY} if content[:4] == b"NXFE" else {}
        watch.path = str(path) if number >= 0 else None
        began = time.perf_counter()
        told = outcome(path, kind, options)
        slowest = max(slowest, time.perf_counter() - began)
        watch.path = None
        if number >= 0:
            found[told] += 1
            found[kind.__name__] += 1
    return {"found": found, "executed": watch.heard, "slowest_s": slowest}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
