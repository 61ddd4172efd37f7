"""An Ed25519 signature over the exact bytes of ``manifest.json``.

Not over the content hash: the manifest's bytes also fix the format, the version and every key a
later minor version adds. The file names the key by its hash and does not carry it: who verifies
brings the key, and nobody can be led to trust the one a forger put in.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from nexus_model.artifact.json_text import first_problem, parse_json
from nexus_model.artifact.key_material import cryptography_module, key_material
from nexus_model.artifact.manifest import SIGNATURE
from nexus_model.schema import ArtifactError, ConfigurationError, Record

SIGNING_VARIABLE, PUBLIC_VARIABLE = "NEXUS_SIGNING_KEY", "NEXUS_PUBLIC_KEY"
# So that a signature of a manifest is no signature of anything else.
SIGNED_PREFIX = b"nxf-manifest-signature-1\n"

_ED25519 = "hazmat.primitives.asymmetric.ed25519"
_SERIALIZATION = "hazmat.primitives.serialization"


class SignatureError(ArtifactError):
    """The file is not signed by whom it should be, or was changed since."""


class Signature(Record):
    """The content of ``signature.json``."""

    algorithm: Literal["ed25519"] = "ed25519"
    key_id: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the 32-byte public key")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")

    def to_json(self) -> bytes:
        """The bytes stored in the archive."""
        return (self.model_dump_json() + "\n").encode()


class PublicKey:
    """Who a file must be signed by: an Ed25519 public key."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) != 32:
            raise ConfigurationError(f"an Ed25519 public key has 32 bytes, got {len(raw)}")
        self.raw = raw

    @property
    def key_id(self) -> str:
        """SHA-256 of the key, as files name it."""
        return hashlib.sha256(self.raw).hexdigest()

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """The key of a PEM text (SubjectPublicKeyInfo)."""
        return cls(_raw(_parsed(pem, "load_pem_public_key", "Ed25519PublicKey")))

    @classmethod
    def read(cls, file: Path | None = None) -> Self:
        """The key of a PEM file, or of the environment variable NEXUS_PUBLIC_KEY."""
        return cls.from_pem(key_material(file, PUBLIC_VARIABLE))


class SigningKey:
    """An Ed25519 private key; it is never shown."""

    def __init__(self, private: Any) -> None:
        self._private = private

    @classmethod
    def read(cls, file: Path | None = None) -> Self:
        """The key of a PEM file (PKCS 8), or of the environment variable NEXUS_SIGNING_KEY."""
        pem = key_material(file, SIGNING_VARIABLE)
        return cls(_parsed(pem, "load_pem_private_key", "Ed25519PrivateKey", password=None))

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the operating system's randomness."""
        return cls(cryptography_module(_ED25519).Ed25519PrivateKey.generate())

    @property
    def public(self) -> PublicKey:
        """The key others verify with."""
        return PublicKey(_raw(self._private.public_key()))

    def to_pem(self) -> tuple[bytes, bytes]:
        """Private and public PEM texts."""
        form = cryptography_module(_SERIALIZATION)
        pem = form.Encoding.PEM
        private = self._private.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
        kind = form.PublicFormat.SubjectPublicKeyInfo
        return private, self._private.public_key().public_bytes(pem, kind)

    def sign(self, manifest: bytes) -> Signature:
        """The signature of a manifest's bytes."""
        made = self._private.sign(SIGNED_PREFIX + manifest)
        return Signature(key_id=self.public.key_id, signature=made.hex())


def _parsed(pem: bytes, loader: str, kind: str, **options: Any) -> Any:
    load = getattr(cryptography_module(_SERIALIZATION), loader)
    unsupported = cryptography_module("exceptions").UnsupportedAlgorithm
    try:
        key = load(pem, **options)
    except (ValueError, TypeError, unsupported) as error:
        # What was given is not told: it may be a key.
        raise ConfigurationError("the key is not an unencrypted PEM key") from error
    if not isinstance(key, getattr(cryptography_module(_ED25519), kind)):
        raise ConfigurationError("the key is not an Ed25519 key")
    return key


def _raw(public: Any) -> bytes:
    raw: bytes = public.public_bytes_raw()
    return raw


def parse_signature(content: bytes, where: str) -> Signature:
    """Read ``signature.json``; whether it is right only a key can tell.

    Raises:
        SignatureError: it is no signature.
    """
    try:
        return Signature.model_validate(parse_json(content, f"{where}: {SIGNATURE}"), strict=True)
    except ValidationError as error:
        raise SignatureError(f"{where}: {SIGNATURE}: {first_problem(error)}") from error


def check_signature(signature: Signature, manifest: bytes, key: PublicKey, where: str) -> None:
    """Compare the signature with the manifest's bytes.

    Raises:
        SignatureError: another key signed, or the manifest is not what was signed.
    """
    if signature.key_id != key.key_id:
        raise SignatureError(
            f"{where}: is signed with another key ({signature.key_id[:16]}...), "
            f"required is {key.key_id[:16]}..."
        )
    invalid = cryptography_module("exceptions").InvalidSignature
    public = cryptography_module(_ED25519).Ed25519PublicKey.from_public_bytes(key.raw)
    try:
        public.verify(bytes.fromhex(signature.signature), SIGNED_PREFIX + manifest)
    except invalid as error:
        raise SignatureError(f"{where}: signature is wrong: the manifest was changed") from error
