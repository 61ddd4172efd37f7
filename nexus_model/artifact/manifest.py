"""What a ``.nxf`` file says it holds: a hash and a size per member, and a hash over all of them."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError

from nexus_model.schema import ArtifactError, Record

MANIFEST = "manifest.json"
FORMAT = "nxf"
MAJOR, MINOR = 1, 0

_SHA256 = r"^[0-9a-f]{64}$"
_PICKLE_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
_PICKLE_PROTOCOLS = (2, 3, 4, 5)
_LARGEST_HEADER = 100_000_000


class MemberSpec(Record):
    """What a member's content must be."""

    sha256: str = Field(pattern=_SHA256)
    size_bytes: int = Field(ge=0)


class Manifest(Record):
    """The content of ``manifest.json``."""

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$")
    version: str = Field(default=f"{MAJOR}.{MINOR}", pattern=r"^\d{1,6}\.\d{1,6}$")
    members: dict[str, MemberSpec]
    content_hash: str = Field(pattern=_SHA256)

    @classmethod
    def of(cls, members: Mapping[str, bytes]) -> Self:
        """The manifest that describes these members."""
        specs = {name: describe(members[name]) for name in sorted(members)}
        return cls(members=specs, content_hash=hash_over(specs))

    def to_json(self) -> bytes:
        """The bytes stored in the archive, the same for the same members."""
        return json.dumps(self.model_dump(), indent=2, sort_keys=True).encode()


def describe(content: bytes) -> MemberSpec:
    """Hash and size of a member."""
    return MemberSpec(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def hash_over(specs: Mapping[str, MemberSpec]) -> str:
    """One hash of all names and contents, independent of compression and order."""
    lines = [[name, specs[name].sha256, specs[name].size_bytes] for name in sorted(specs)]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def parse_json(content: bytes, where: str) -> Any:
    """Parse JSON that a stranger may have written.

    Raises:
        ArtifactError: not JSON, nested too deep, or a key given twice.
    """
    try:
        return json.loads(content, object_pairs_hook=_refuse_repeats)
    except RecursionError as error:
        raise ArtifactError(f"{where}: JSON is nested too deep") from error
    except ValueError as error:
        raise ArtifactError(f"{where}: not valid JSON: {error}") from error


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest: a newer major version is refused, a newer minor one is read.

    Raises:
        ArtifactError: it is not a manifest, of another format, or too new.
    """
    stated = parse_json(content, f"{where}: {MANIFEST}")
    if not isinstance(stated, dict) or stated.get("format") != FORMAT:
        raise ArtifactError(f"{where}: {MANIFEST} is not that of a .{FORMAT} file")
    major, minor = _version(stated.get("version"), where)
    if major != MAJOR:
        raise ArtifactError(
            f"{where}: has format version {major}.{minor}, this library reads {MAJOR}.x; "
            f"use the library version that wrote it"
        )
    if minor > MINOR:
        # A newer minor version may say more, never something else.
        stated = {key: stated[key] for key in Manifest.model_fields if key in stated}
    try:
        manifest = Manifest.model_validate(stated, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise ArtifactError(f"{where}: {MANIFEST}: {place}: {problem['msg']}") from error
    if hash_over(manifest.members) != manifest.content_hash:
        raise ArtifactError(f"{where}: {MANIFEST}: content_hash is not that of its members")
    return manifest


def _version(stated: object, where: str) -> tuple[int, int]:
    if not isinstance(stated, str) or not re.fullmatch(r"[0-9]{1,6}\.[0-9]{1,6}", stated):
        raise ArtifactError(f"{where}: {MANIFEST}: version must be like '1.0', got {stated!r}")
    major, minor = stated.split(".")
    return int(major), int(minor)


def name_refusal(name: str) -> str | None:
    """Why a member may not have this name; None if it may."""
    if not name or len(name) > 1024 or not name.isprintable():
        return "name is empty, too long or not printable"
    if name.startswith("/") or "\\" in name or ":" in name:
        return "name is absolute or not a plain relative path"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "name leaves its folder or has empty parts"
    if name.lower().endswith(_PICKLE_SUFFIXES):
        return "pickle or unsafe binary formats are refused; store tensors as .safetensors"
    return None


def content_refusal(name: str, content: bytes) -> str | None:
    """Why a member may not have this content; None if it may."""
    if name.endswith(".safetensors"):
        # A header length may look like a pickle header, so it is judged as what it claims to be.
        size = int.from_bytes(content[:8], "little")
        fits = 2 <= size <= min(_LARGEST_HEADER, len(content) - 8)
        return None if fits and content[8:9] == b"{" else "header is not that of a safetensors file"
    if content[:1] == b"\x80" and content[1:2] and content[1] in _PICKLE_PROTOCOLS:
        return "content starts like a pickle"
    if content[:4] == b"PK\x03\x04":
        return "content is another zip, as torch.save writes"
    return None
