"""What a ``.nxf`` file says it holds: a hash and a size per member, and a hash over all of them."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from nexus_model.artifact.json_text import first_problem, parse_json, told
from nexus_model.artifact.limits import LARGEST_ARCHIVE_BYTES, LONGEST_NAME, MOST_MEMBERS
from nexus_model.artifact.refusals import NAME, name_refusal
from nexus_model.schema import ArtifactError, Record

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
# Members that describe the others, and so are not among those the manifest lists.
RESERVED = (MANIFEST, SIGNATURE)
MOST_LISTED = MOST_MEMBERS - len(RESERVED)
FORMAT = "nxf"
MAJOR, MINOR = 1, 1
SCHEMA_FILE = "nxf-manifest.schema.json"

_SHA256 = r"^[0-9a-f]{64}$"


class MemberSpec(Record):
    """What a member's content must be."""

    sha256: str = Field(pattern=_SHA256, description="SHA-256 of the unpacked content")
    size_bytes: int = Field(
        ge=0, le=LARGEST_ARCHIVE_BYTES, description="length of the unpacked content"
    )


class Manifest(Record):
    """The content of ``manifest.json``."""

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$")
    version: str = Field(default=f"{MAJOR}.{MINOR}", pattern=r"^[0-9]{1,6}\.[0-9]{1,6}$")
    members: dict[str, MemberSpec]
    content_hash: str = Field(pattern=_SHA256, description="SHA-256 over names, hashes and sizes")

    @classmethod
    def of(cls, members: Mapping[str, bytes]) -> Self:
        """The manifest that describes these members."""
        return cls.of_specs({name: describe(content) for name, content in members.items()})

    @classmethod
    def of_specs(cls, specs: Mapping[str, MemberSpec]) -> Self:
        """The manifest of members described so."""
        ordered = {name: specs[name] for name in sorted(specs)}
        return cls(members=ordered, content_hash=hash_over(ordered))

    @property
    def minor(self) -> int:
        """The minor version; the major one is ours."""
        return int(self.version.split(".")[1])

    def to_json(self) -> bytes:
        """The bytes stored in the archive, the same for the same members."""
        return json.dumps(self.model_dump(), indent=2, sort_keys=True).encode()


def describe(content: bytes) -> MemberSpec:
    """Hash and size of a member."""
    return MemberSpec(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def hash_over(specs: Mapping[str, MemberSpec]) -> str:
    """One hash of all names and contents, independent of compression and order.

    >>> hash_over({})
    '4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945'
    """
    lines = [[name, specs[name].sha256, specs[name].size_bytes] for name in sorted(specs)]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


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
    _check_names(stated.get("members"), where)
    # A newer minor version may say more, never something else.
    extra: Literal["ignore", "forbid"] = "ignore" if minor > MINOR else "forbid"
    try:
        manifest = Manifest.model_validate(stated, strict=True, extra=extra)
    except ValidationError as error:
        raise ArtifactError(f"{where}: {MANIFEST}: {first_problem(error)}") from error
    if hash_over(manifest.members) != manifest.content_hash:
        raise ArtifactError(f"{where}: {MANIFEST}: content_hash is not that of its members")
    return manifest


def _check_names(members: object, where: str) -> None:
    # Before the record is made, so that a million names cost no million errors.
    names = list(members) if isinstance(members, dict) else []
    if len(names) > MOST_LISTED:
        raise ArtifactError(
            f"{where}: {MANIFEST}: lists {len(names)} members, allowed are {MOST_LISTED}"
        )
    for name in names:
        refusal = "is no member the manifest lists" if name in RESERVED else name_refusal(name)
        if refusal:
            raise ArtifactError(f"{where}: {MANIFEST}: '{told(name)}': {refusal}")


def _version(stated: object, where: str) -> tuple[int, int]:
    if not isinstance(stated, str) or not re.fullmatch(r"[0-9]{1,6}\.[0-9]{1,6}", stated):
        raise ArtifactError(
            f"{where}: {MANIFEST}: version must be like '1.0', got {told(repr(stated)[:99])}"
        )
    major, minor = stated.split(".")
    return int(major), int(minor)


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of ``manifest.json``, as shipped beside this file."""
    schema = Manifest.model_json_schema()
    schema["required"] = list(Manifest.model_fields)
    schema["properties"]["members"] |= {
        "maxProperties": MOST_LISTED,
        "propertyNames": {
            "pattern": NAME,
            "maxLength": LONGEST_NAME,
            "not": {"enum": list(RESERVED)},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"manifest.json of a .{FORMAT} file, version {MAJOR}.{MINOR}",
    } | {key: value for key, value in schema.items() if key != "title"}
