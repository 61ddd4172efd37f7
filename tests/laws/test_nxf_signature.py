"""Signed ``.nxf`` files: only the holder of the key could have written what is read."""

import json
import sys

import pytest
from tiny_nxf import entry, manifest_of, raw_zip

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.encryption import EnvelopeKey, encrypt_file
from nexus_model.artifact.manifest import SIGNATURE
from nexus_model.artifact.signature import PublicKey, SignatureError, SigningKey
from nexus_model.artifact.signing import sign_archive
from nexus_model.schema import ArtifactError, ConfigurationError

MEMBERS = {"a.json": b'{"a": 1}', "b/c.txt": b"b" * 99}


@pytest.fixture
def signed(tmp_path):
    """A signed file and its key."""
    write_archive(tmp_path / "a.nxf", MEMBERS)
    key = SigningKey.generate()
    sign_archive(tmp_path / "a.nxf", key)
    return tmp_path / "a.nxf", key


def by_hand(manifest, signature):
    """A file of the one member, this manifest and this signature."""
    return raw_zip(
        [entry("manifest.json", manifest), entry("a.json", b"{}"), entry(SIGNATURE, signature)]
    )


def test_a_signed_file_is_read_with_and_without_its_key(signed):
    path, key = signed
    for options in ({}, {"require_signature": key.public}):
        archive = read_archive(path, **options)
        assert {name: archive.bytes(name) for name in archive.names} == MEMBERS
    assert archive.signature.key_id == key.public.key_id


def test_signing_changes_no_member_and_no_content_hash(tmp_path, signed):
    plain = write_archive(tmp_path / "b.nxf", MEMBERS)
    archive, other = read_archive(signed[0]), read_archive(tmp_path / "b.nxf")
    assert archive.content_hash == plain
    assert archive.manifest_bytes == other.manifest_bytes
    assert archive.names == other.names


def test_signing_again_replaces_the_signature(signed):
    path, key = signed
    once, other = path.read_bytes(), SigningKey.generate()
    sign_archive(path, other)
    read_archive(path, require_signature=other.public)
    sign_archive(path, key)
    assert path.read_bytes() == once


def test_an_unsigned_file_is_refused_where_a_signature_is_required(tmp_path):
    write_archive(tmp_path / "a.nxf", MEMBERS)
    with pytest.raises(SignatureError, match="is not signed, and a signature is required"):
        read_archive(tmp_path / "a.nxf", require_signature=SigningKey.generate().public)


def test_a_file_signed_by_another_key_is_refused(signed):
    with pytest.raises(SignatureError, match="signed with another key"):
        read_archive(signed[0], require_signature=SigningKey.generate().public)


def test_a_key_that_only_claims_to_be_the_right_one_is_refused(signed, tmp_path):
    forger, key = SigningKey.generate(), signed[1]
    manifest = manifest_of({"a.json": b"{}"})
    claimed = forger.sign(manifest).model_copy(update={"key_id": key.public.key_id})
    (tmp_path / "b.nxf").write_bytes(by_hand(manifest, claimed.to_json()))
    read_archive(tmp_path / "b.nxf")
    with pytest.raises(SignatureError, match="signature is wrong"):
        read_archive(tmp_path / "b.nxf", require_signature=key.public)


@pytest.mark.parametrize("change", [{"version": "1.0"}, {"version": "1.7", "more": 1}])
def test_a_manifest_changed_after_signing_is_refused_even_where_the_content_hash_stays(
    signed, tmp_path, change
):
    key = signed[1]
    before, after = manifest_of({"a.json": b"{}"}), manifest_of({"a.json": b"{}"}, **change)
    for manifest in (before, after):
        (tmp_path / "b.nxf").write_bytes(by_hand(manifest, key.sign(before).to_json()))
        assert read_archive(tmp_path / "b.nxf").names == ("a.json",)
    with pytest.raises(SignatureError, match="signature is wrong"):
        read_archive(tmp_path / "b.nxf", require_signature=key.public)


def test_the_signature_is_of_a_manifest_and_of_nothing_else(signed):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    archive, key = read_archive(signed[0]), signed[1]
    made = bytes.fromhex(archive.signature.signature)
    public = Ed25519PublicKey.from_public_bytes(key.public.raw)
    public.verify(made, b"nxf-manifest-signature-1\n" + archive.manifest_bytes)
    with pytest.raises(InvalidSignature):
        public.verify(made, archive.manifest_bytes)


@pytest.mark.parametrize(
    "signature",
    [b"{}", b"[]", b"", b'{"algorithm": "none", "key_id": "", "signature": ""}',
     json.dumps({"algorithm": "ed25519", "key_id": "0" * 64, "signature": "0" * 127}).encode()],
)  # fmt: skip
def test_what_is_no_signature_is_refused_even_where_none_is_required(tmp_path, signature):
    content = by_hand(manifest_of({"a.json": b"{}"}), signature)
    (tmp_path / "a.nxf").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"signature\.json"):
        read_archive(tmp_path / "a.nxf")


def test_the_manifest_may_not_list_the_signature(tmp_path):
    manifest = manifest_of({"a.json": b"{}", SIGNATURE: b"{}"})
    (tmp_path / "a.nxf").write_bytes(by_hand(manifest, b"{}"))
    with pytest.raises(ArtifactError, match=r"signature\.json"):
        read_archive(tmp_path / "a.nxf")
    with pytest.raises(ArtifactError, match="is written by the archive"):
        write_archive(tmp_path / "a.nxf", {SIGNATURE: b"{}"})


def test_a_damaged_file_is_not_signed_and_stays_as_it_is(tmp_path):
    write_archive(tmp_path / "a.nxf", {"a.txt": b"abc"})
    wrong = (tmp_path / "a.nxf").read_bytes()[:-1]
    (tmp_path / "a.nxf").write_bytes(wrong)
    with pytest.raises(ArtifactError, match="damaged"):
        sign_archive(tmp_path / "a.nxf", SigningKey.generate())
    assert (tmp_path / "a.nxf").read_bytes() == wrong
    assert [path.name for path in tmp_path.iterdir()] == ["a.nxf"]


def test_an_encrypted_file_is_not_signed(tmp_path, signed):
    encrypt_file(signed[0], tmp_path / "e", EnvelopeKey.generate())
    with pytest.raises(ArtifactError, match="is encrypted"):
        sign_archive(tmp_path / "e", signed[1])


def test_keys_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    key = SigningKey.generate()
    private, public = key.to_pem()
    (tmp_path / "p").write_bytes(private)
    monkeypatch.setenv("NEXUS_PUBLIC_KEY", public.decode())
    assert SigningKey.read(tmp_path / "p").public.raw == PublicKey.read().raw
    monkeypatch.setenv("NEXUS_SIGNING_KEY", private.decode())
    assert SigningKey.read().public.key_id == key.public.key_id


@pytest.mark.parametrize("content", [b"", b"secret", b"\xff" * 99, b"x" * 20_000])
def test_what_is_no_key_is_refused_without_telling_it(tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    for read in (SigningKey.read, PublicKey.read, EnvelopeKey.read):
        with pytest.raises(ConfigurationError) as caught:
            read(tmp_path / "k")
        assert "secret" not in str(caught.value)


def test_a_key_of_another_kind_is_refused(tmp_path):
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    other = generate_private_key(SECP256R1())
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "k").write_bytes(pem)
    with pytest.raises(ConfigurationError, match="not an Ed25519 key"):
        SigningKey.read(tmp_path / "k")


def test_no_key_says_where_one_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("NEXUS_SIGNING_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="name a key file or set NEXUS_SIGNING_KEY"):
        SigningKey.read()
    with pytest.raises(ConfigurationError, match="key cannot be read"):
        SigningKey.read(tmp_path / "none")


def test_without_the_package_cryptography_the_error_says_so(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match="pip install cryptography"):
        SigningKey.generate()


def test_the_signed_file_has_the_rights_it_had(signed):
    path, key = signed
    for rights in (0o600, 0o640):
        path.chmod(rights)
        sign_archive(path, key)
        assert path.stat().st_mode & 0o777 == rights
