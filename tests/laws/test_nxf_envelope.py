"""Encrypted ``.nxf`` files: read by place with the key, and not at all if anything was changed."""

import pytest

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.encryption import (
    CHUNK_BYTES,
    EncryptedArtifactError,
    EncryptedFile,
    EnvelopeKey,
    decrypt_file,
    encrypt_file,
)
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.artifact.stored_file import StoredFile
from nexus_model.schema import ArtifactError, ConfigurationError

KEY = EnvelopeKey(bytes(range(32)))
CHUNK = CHUNK_BYTES + 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A file of three chunks and a bit, plain and encrypted."""
    made = tmp_path_factory.mktemp("envelope")
    members = {"a.json": b"{}", "b.txt": bytes(i % 251 for i in range(256)) * 4096 * 3}
    write_archive(made / "plain.nxf", {**members, "c.txt": b"c"})
    encrypt_file(made / "plain.nxf", made / "a.nxf.enc", KEY)
    return made


@pytest.fixture
def envelope(folder, tmp_path):
    """The encrypted bytes, and a path to write what was made of them."""
    return bytearray((folder / "a.nxf.enc").read_bytes()), tmp_path / "changed.enc"


def plain_of(size, tmp_path):
    (tmp_path / "p").write_bytes(bytes(i % 253 for i in range(size)))
    encrypt_file(tmp_path / "p", tmp_path / "e", KEY)
    return (tmp_path / "p").read_bytes()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 << 20])
def test_what_was_encrypted_is_decrypted(size, tmp_path):
    content = plain_of(size, tmp_path)
    decrypt_file(tmp_path / "e", tmp_path / "d", KEY)
    assert (tmp_path / "d").read_bytes() == content
    chunks = max(1, -(-size // CHUNK_BYTES))
    assert (tmp_path / "e").stat().st_size == 40 + size + 16 * chunks


@pytest.mark.parametrize(
    ("place", "count"),
    [(0, 5), (CHUNK_BYTES - 3, 6), (CHUNK_BYTES, CHUNK_BYTES), (0, 3 << 20), (5, 2 << 20), (9, 0)],
)
def test_any_place_is_read(place, count, tmp_path):
    content = plain_of(3 << 20, tmp_path)
    file = EncryptedFile(StoredFile(tmp_path / "e"), KEY, "e")
    assert file.size == len(content)
    assert file.read_at(place, count) == content[place : place + count]
    with pytest.raises(ArtifactError, match="ends before its content"):
        file.read_at(file.size - 1, 2)


def test_an_encrypted_file_is_opened_with_its_key(folder):
    archive, plain = read_archive(folder / "a.nxf.enc", key=KEY), read_archive(folder / "plain.nxf")
    assert archive.content_hash == plain.content_hash
    assert archive.bytes("b.txt") == plain.bytes("b.txt")


def test_without_a_key_the_error_says_that_one_is_needed(folder):
    for load in (read_archive, NexusFlowModelArtifact.load):
        with pytest.raises(EncryptedArtifactError, match="is encrypted: give its key"):
            load(folder / "a.nxf.enc")


def test_another_key_opens_nothing(folder, tmp_path):
    other = EnvelopeKey.generate()
    with pytest.raises(EncryptedArtifactError, match="another key"):
        read_archive(folder / "a.nxf.enc", key=other)
    with pytest.raises(EncryptedArtifactError, match="another key"):
        decrypt_file(folder / "a.nxf.enc", tmp_path / "d", other)
    assert list(tmp_path.iterdir()) == []


def test_the_same_file_encrypted_twice_shares_no_chunk(folder, tmp_path):
    encrypt_file(folder / "plain.nxf", tmp_path / "again", KEY)
    one, other = (folder / "a.nxf.enc").read_bytes(), (tmp_path / "again").read_bytes()
    assert len(one) == len(other)
    assert one[8:40] != other[8:40]
    assert sum(a == b for a, b in zip(one[40:4136], other[40:4136], strict=True)) < 64


CHANGES = {
    "magic kept, version changed": lambda e: e.__setitem__(4, 2),
    "chunk size changed": lambda e: e.__setitem__(5, 21),
    "reserved byte set": lambda e: e.__setitem__(6, 1),
    "salt changed": lambda e: e.__setitem__(8, e[8] ^ 1),
    "first chunk changed": lambda e: e.__setitem__(50, e[50] ^ 1),
    "a middle tag changed": lambda e: e.__setitem__(40 + 2 * CHUNK - 1, e[40 + 2 * CHUNK - 1] ^ 1),
    "last byte changed": lambda e: e.__setitem__(-1, e[-1] ^ 1),
    "last byte cut": lambda e: e.__delitem__(slice(-1, None)),
    "last chunk cut": lambda e: e.__delitem__(slice(40 + 3 * CHUNK, None)),
    "two chunks cut": lambda e: e.__delitem__(slice(40 + 2 * CHUNK, None)),
    "all but the header cut": lambda e: e.__delitem__(slice(40, None)),
    "header cut": lambda e: e.__delitem__(slice(20, None)),
    "only the magic": lambda e: e.__delitem__(slice(4, None)),
    "first chunk left out": lambda e: e.__delitem__(slice(40, 40 + CHUNK)),
    "chunks swapped": lambda e: e.__setitem__(
        slice(40, 40 + 2 * CHUNK), e[40 + CHUNK : 40 + 2 * CHUNK] + e[40 : 40 + CHUNK]
    ),
    "chunk repeated": lambda e: e.__setitem__(slice(40, 40), e[40 : 40 + CHUNK]),
    "a byte appended": lambda e: e.extend(b"x"),
    "an empty chunk appended": lambda e: e.extend(bytes(16)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_envelope_is_refused_and_nothing_of_it_is_left(envelope, name):
    content, path = envelope
    CHANGES[name](content)
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_archive(path, key=KEY)
    with pytest.raises(ArtifactError):
        decrypt_file(path, path.with_name("d"), KEY)
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_a_cut_envelope_is_refused_before_anything_is_read_of_it(envelope):
    content, path = envelope
    path.write_bytes(content[: 40 + 2 * CHUNK])
    with pytest.raises(EncryptedArtifactError, match="cut off"):
        EncryptedFile(StoredFile(path), KEY, "e")


def test_a_chunk_of_another_file_of_the_same_key_is_refused(envelope, folder):
    content, path = envelope
    encrypt_file(folder / "plain.nxf", path, KEY)
    content[40 : 40 + CHUNK] = path.read_bytes()[40 : 40 + CHUNK]
    path.write_bytes(content)
    with pytest.raises(EncryptedArtifactError, match="was changed"):
        read_archive(path, key=KEY)


def test_what_is_encrypted_is_not_encrypted_again_and_what_is_not_is_not_decrypted(
    folder, tmp_path
):
    with pytest.raises(ArtifactError, match="is encrypted already"):
        encrypt_file(folder / "a.nxf.enc", tmp_path / "e", KEY)
    with pytest.raises(ArtifactError, match="is not encrypted"):
        decrypt_file(folder / "plain.nxf", tmp_path / "d", KEY)


def test_a_key_has_32_bytes_as_digits_or_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "hex").write_bytes(KEY.to_hex())
    (tmp_path / "raw").write_bytes(bytes(range(32)))
    monkeypatch.setenv("NEXUS_ENVELOPE_KEY", KEY.to_hex().decode())
    read = [
        EnvelopeKey.read(tmp_path / "hex"),
        EnvelopeKey.read(tmp_path / "raw"),
        EnvelopeKey.read(),
    ]
    assert {key.to_hex() for key in read} == {KEY.to_hex()}
    monkeypatch.setenv("NEXUS_ENVELOPE_KEY", "00" * 31)
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        EnvelopeKey.read()


def test_no_key_is_shown_by_repr():
    assert "0001" not in repr(KEY) + str(vars(EnvelopeKey))
