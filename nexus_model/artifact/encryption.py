"""The envelope: a ``.nxf`` file encrypted with AES-256-GCM, in chunks that are read by place.

A header of 40 bytes (magic, version, chunk size, 32 bytes of salt), then chunks of a mebibyte,
each with its tag. Every file has a key of its own, HKDF-SHA256 of the given key and the salt; a
chunk's nonce is its number and whether it is the last. So chunks cannot be left out, repeated,
reordered or moved to another file, and the end cannot be cut off.
"""

import secrets
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from nexus_model.artifact.key_material import cryptography_module, key_material
from nexus_model.artifact.stored_file import ReadAt, StoredFile, replacing
from nexus_model.schema import ArtifactError, ConfigurationError

ENVELOPE_VARIABLE = "NEXUS_ENVELOPE_KEY"
MAGIC, ENVELOPE_VERSION, CHUNK_POWER = b"NXFE", 1, 20
HKDF_INFO = b"nxf-envelope-1"
KEY_BYTES, SALT_BYTES, TAG_BYTES = 32, 32, 16
CHUNK_BYTES = 2**CHUNK_POWER

_HEADER = struct.Struct(f"<4sBBH{SALT_BYTES}s")
_NONCE = struct.Struct(">7xIB")
_MOST_CHUNKS = 2**16


class EncryptedArtifactError(ArtifactError):
    """The file is encrypted: no key was given, another key, or the file was changed."""


class EnvelopeKey:
    """32 secret bytes; they are never shown."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise ConfigurationError(f"an envelope key has {KEY_BYTES} bytes, got {len(secret)}")
        self._secret = secret

    @classmethod
    def read(cls, file: Path | None = None) -> Self:
        """The key of a file, or of the environment variable NEXUS_ENVELOPE_KEY.

        64 hexadecimal digits; a file may also hold the 32 bytes themselves.
        """
        content = key_material(file, ENVELOPE_VARIABLE)
        if file is not None and len(content) == KEY_BYTES:
            return cls(content)
        try:
            return cls(bytes.fromhex(content.decode("ascii").strip()))
        except ValueError:
            # Not chained: the message of the cause would show a piece of the key.
            raise ConfigurationError("an envelope key is 64 hexadecimal digits") from None

    @classmethod
    def generate(cls) -> Self:
        """A new key, from the operating system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def to_hex(self) -> bytes:
        """The key as it is stored in a file."""
        return self._secret.hex().encode() + b"\n"

    def cipher(self, salt: bytes) -> Any:
        """AES-256-GCM with the key of the file that has this salt."""
        hashes = cryptography_module("hazmat.primitives.hashes")
        derive = cryptography_module("hazmat.primitives.kdf.hkdf").HKDF(
            algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=HKDF_INFO
        )
        ciphers = cryptography_module("hazmat.primitives.ciphers.aead")
        return ciphers.AESGCM(derive.derive(self._secret))


def is_encrypted(file: ReadAt) -> bool:
    """Whether the file begins as an envelope does."""
    return file.size >= len(MAGIC) and file.read_at(0, len(MAGIC)) == MAGIC


class EncryptedFile:
    """The content of an envelope, decrypted where it is read; one chunk is held.

    Raises:
        EncryptedArtifactError: no key, another key, or the file is damaged, cut off or changed.
    """

    def __init__(self, file: ReadAt, key: EnvelopeKey | None, where: str) -> None:
        self._file, self._where = file, where
        if key is None:
            raise EncryptedArtifactError(
                f"{where}: is encrypted: give its key by file or by {ENVELOPE_VARIABLE}"
            )
        self._header = file.read_at(0, min(_HEADER.size, file.size))
        body = file.size - _HEADER.size
        self._chunks = max(1, -(-body // (CHUNK_BYTES + TAG_BYTES)))
        self._size = body - self._chunks * TAG_BYTES
        # Only the one chunk of an empty content is empty.
        least = 0 if self._chunks == 1 else (self._chunks - 1) * CHUNK_BYTES + 1
        if self._size < least:
            raise EncryptedArtifactError(f"{where}: damaged or truncated envelope")
        _, version, power, reserved, salt = _HEADER.unpack(self._header)
        if (version, power, reserved) != (ENVELOPE_VERSION, CHUNK_POWER, 0):
            raise EncryptedArtifactError(f"{where}: envelope of another version ({version})")
        if self._chunks > _MOST_CHUNKS:
            raise EncryptedArtifactError(f"{where}: envelope of {self._chunks} chunks")
        self._cipher = key.cipher(salt)
        self._held: tuple[int, bytes] = (-1, b"")
        # The last chunk knows that it is the last, so the length is right from here on.
        self._chunk(self._chunks - 1)

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return self._size

    def read_at(self, place: int, count: int) -> bytes:
        """Exactly ``count`` bytes of the content from ``place`` on."""
        if not 0 <= place <= place + count <= self._size:
            raise ArtifactError(f"{self._where}: damaged or truncated: ends before its content")
        if count == 0:
            return b""
        first, last = place // CHUNK_BYTES, (place + count - 1) // CHUNK_BYTES
        content = b"".join(self._chunk(number) for number in range(first, last + 1))
        begin = place - first * CHUNK_BYTES
        return content[begin : begin + count]

    def pieces(self) -> Iterator[bytes]:
        """The content, chunk by chunk."""
        for number in range(self._chunks):
            yield self._chunk(number)

    def _chunk(self, number: int) -> bytes:
        held, content = self._held
        if held == number:
            return content
        place = _HEADER.size + number * (CHUNK_BYTES + TAG_BYTES)
        raw = self._file.read_at(place, min(CHUNK_BYTES + TAG_BYTES, self._file.size - place))
        nonce = _NONCE.pack(number, number == self._chunks - 1)
        invalid = cryptography_module("exceptions").InvalidTag
        try:
            content = self._cipher.decrypt(nonce, raw, self._header)
        except invalid as error:
            raise EncryptedArtifactError(
                f"{self._where}: another key encrypted it, or it was changed or cut off"
            ) from error
        self._held = (number, content)
        return content


def encrypt_file(source: Path, target: Path, key: EnvelopeKey) -> None:
    """Write ``source`` encrypted, in the memory of a few chunks.

    Raises:
        ArtifactError: the source is missing, or is an envelope already.
    """
    file = StoredFile(source)
    if is_encrypted(file):
        raise ArtifactError(f"{source}: is encrypted already")
    salt = secrets.token_bytes(SALT_BYTES)
    header = _HEADER.pack(MAGIC, ENVELOPE_VERSION, CHUNK_POWER, 0, salt)
    cipher = key.cipher(salt)
    chunks = max(1, -(-file.size // CHUNK_BYTES))
    if chunks > _MOST_CHUNKS:
        raise ArtifactError(f"{source}: too large to be encrypted")
    with replacing(target) as encrypted:
        encrypted.write(header)
        for number in range(chunks):
            place = number * CHUNK_BYTES
            content = file.read_at(place, min(CHUNK_BYTES, file.size - place))
            nonce = _NONCE.pack(number, number == chunks - 1)
            encrypted.write(cipher.encrypt(nonce, content, header))


def decrypt_file(source: Path, target: Path, key: EnvelopeKey) -> None:
    """Write the content of an envelope; nothing is left at ``target`` unless all of it is right.

    Raises:
        EncryptedArtifactError: another key, or the file is damaged, cut off or changed.
        ArtifactError: the source is missing or no envelope.
    """
    file = StoredFile(source)
    if not is_encrypted(file):
        raise ArtifactError(f"{source}: is not encrypted")
    envelope = EncryptedFile(file, key, str(source))
    with replacing(target) as decrypted:
        for piece in envelope.pieces():
            decrypted.write(piece)
