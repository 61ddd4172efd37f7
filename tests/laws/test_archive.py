"""The ``.nxf`` container: what is written is read, and nothing else is."""

import hashlib
import io
import json
import random
import struct
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.manifest import Manifest
from nexus_model.schema import ArtifactError

MEMBERS = {
    "config.json": b'{"width": 8}',
    "sql/aligned/races.sql": b"SELECT 1 AS one",
    "weights.safetensors": save({"w": torch.arange(6.0).reshape(2, 3)}),
}


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "model.nxf"
    write_archive(target, MEMBERS)
    return target


def _pack(path, members, manifest=None):
    """Write a zip by hand: members as (name, content) pairs, so that anything is possible."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        if manifest is not None:
            target.writestr("manifest.json", manifest)
        for name, content in members:
            target.writestr(name, content)
    return path


def _manifest(members, **changes):
    stated = Manifest.of(dict(members)).model_dump() | changes
    return json.dumps(stated)


def _refused(path, reason, **options):
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_archive(path, **options)
    assert path.name in str(caught.value)


def test_what_is_written_is_read(path):
    archive = read_archive(path)
    assert archive.names == tuple(sorted(MEMBERS))
    assert {name: archive.bytes(name) for name in archive.names} == MEMBERS
    assert archive.json("config.json") == {"width": 8}
    assert torch.equal(archive.tensors("weights.safetensors")["w"], torch.arange(6.0).reshape(2, 3))


@settings(max_examples=50, deadline=None)
@given(
    members=st.dictionaries(
        st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?\.json", fullmatch=True),
        st.binary(max_size=99).map(lambda b: b"x" + b),
        max_size=5,
    )
)
def test_any_members_come_back(members, tmp_path_factory):
    target = tmp_path_factory.mktemp("any") / "a.nxf"
    stated = write_archive(target, members)
    archive = read_archive(target)
    assert {name: archive.bytes(name) for name in archive.names} == members
    assert archive.content_hash == stated


def test_the_same_members_give_the_same_bytes(path, tmp_path):
    write_archive(tmp_path / "again.nxf", dict(reversed(MEMBERS.items())))
    assert (tmp_path / "again.nxf").read_bytes() == path.read_bytes()


def test_the_content_hash_depends_on_names_and_contents_only(tmp_path):
    said = write_archive(tmp_path / "a.nxf", {"a.json": b"1", "b.json": b"2"})
    assert said == write_archive(tmp_path / "b.nxf", {"b.json": b"2", "a.json": b"1"})
    assert said != write_archive(tmp_path / "c.nxf", {"b.json": b"1", "a.json": b"2"})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", _no_space)
    with pytest.raises(OSError, match="no space"):
        write_archive(path, {"a.json": b"1"})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def _no_space(_descriptor):
    raise OSError("no space")


def test_a_missing_file_is_named(tmp_path):
    _refused(tmp_path / "nowhere.nxf", "no such file")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04\x95" + b"x" * 99])
def test_what_is_not_a_zip_is_refused(tmp_path, content):
    (tmp_path / "a.nxf").write_bytes(content)
    _refused(tmp_path / "a.nxf", "not a zip")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    _refused(path, "damaged or truncated")


def test_a_flipped_byte_is_detected(path):
    content = bytearray(path.read_bytes())
    place = content.index(MEMBERS["weights.safetensors"]) + 90
    content[place] ^= 1
    path.write_bytes(content)
    _refused(path, "damaged")


def test_a_changed_member_with_a_right_checksum_is_detected(path):
    changed = {**MEMBERS, "config.json": b'{"width": 9}'}
    _pack(path, changed.items(), _manifest(MEMBERS.items()))
    _refused(path, "config.json: content was changed")


def test_a_file_without_manifest_is_refused(path):
    _refused(_pack(path, MEMBERS.items()), "has no manifest.json")


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", "{}", '"nxf"', "{", '{"format": "zip"}', '{"format": "nxf", "version": "1.0"}',
     '{"format": "nxf", "format": "nxf"}', "\udcff".encode("utf-8", "surrogateescape"),
     '{"format": "nxf", "version": 1.0}', '{"format": "nxf", "version": "one"}',
     '{"format": "nxf", "version": "1.0", "members": {"a": {}}, "content_hash": "0"}',
     '{"format": "nxf", "version": 1' + "0" * 5000 + "}"],
)  # fmt: skip
def test_an_invalid_manifest_is_refused(path, manifest):
    _refused(_pack(path, MEMBERS.items(), manifest), "manifest.json")


def test_a_manifest_nested_too_deep_is_refused(path):
    _refused(_pack(path, [], '{"format":' + "[" * 200_000), "nested too deep|not valid JSON")


def test_a_member_nested_too_deep_is_refused(path):
    write_archive(path, {"deep.json": b"[" * 200_000 + b"]" * 200_000})
    with pytest.raises(ArtifactError, match=r"deep\.json: JSON is nested too deep"):
        read_archive(path).json("deep.json")


def test_a_wrong_content_hash_is_refused(path):
    _pack(path, MEMBERS.items(), _manifest(MEMBERS.items(), content_hash="0" * 64))
    _refused(path, "content_hash")


def test_a_missing_member_is_refused(path):
    kept = {name: MEMBERS[name] for name in list(MEMBERS)[1:]}
    _refused(_pack(path, kept.items(), _manifest(MEMBERS.items())), "missing.*config.json")


def test_an_extra_member_is_refused(path):
    _pack(path, [*MEMBERS.items(), ("more.json", b"1")], _manifest(MEMBERS.items()))
    _refused(path, "not in the manifest.*more.json")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_member_is_refused(path):
    _pack(path, [*MEMBERS.items(), ("config.json", b"{}")], _manifest(MEMBERS.items()))
    _refused(path, "config.json.*occurs twice")


@pytest.mark.parametrize(
    "name",
    ["../up.json", "/root.json", "a/../../b.json", "a//b.json", "./a.json", "C:/a.json",
     "a\\b.json", "folder/", "new\nline.json"],
)  # fmt: skip
def test_a_name_that_leaves_its_folder_is_refused(path, name):
    _pack(path, [(name, b"1")], _manifest([(name, b"1")]))
    _refused(path, "name")
    with pytest.raises(ArtifactError, match="name"):
        write_archive(path, {name: b"1"})


@pytest.mark.parametrize("name", ["a.pkl", "a.pickle", "a.pt", "a.BIN", "b/a.pth", "a.joblib"])
def test_a_pickle_by_name_is_refused(path, name):
    _refused(_pack(path, [(name, b"1")], _manifest([(name, b"1")])), "pickle")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_by_content_is_refused(path, protocol):
    content = bytes([0x80, protocol]) + b"\x95\x00\x00cposix\nsystem\n"
    _pack(path, [("a.json", content)], _manifest([("a.json", content)]))
    _refused(path, "starts like a pickle")


def test_a_torch_zip_by_content_is_refused(path):
    stream = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, stream)
    content = stream.getvalue()
    _refused(_pack(path, [("w", content)], _manifest([("w", content)])), "another zip")


def test_a_safetensors_header_that_looks_like_a_pickle_is_read(path):
    names, size = 1, 0
    while size != 0x280:
        content = save({"w": torch.zeros(1), "n" * names: torch.zeros(1)})
        size, names = int.from_bytes(content[:8], "little"), names + 1
    assert content[:2] == b"\x80\x02"
    write_archive(path, {"w.safetensors": content})
    assert read_archive(path).tensors("w.safetensors")["w"].tolist() == [0.0]


@pytest.mark.parametrize(
    "content",
    [b"", b"short", struct.pack("<Q", 2**40) + b"{}", struct.pack("<Q", 2) + b"[]",
     b"\x80\x04" + b"x" * 20],
)  # fmt: skip
def test_a_bad_safetensors_header_is_refused_at_the_door(path, content):
    _pack(path, [("w.safetensors", content)], _manifest([("w.safetensors", content)]))
    _refused(path, "header is not that of a safetensors file")


@pytest.mark.parametrize(
    "header",
    ["{}x", '{"w": 1}', '{"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
     '{"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 400]}}',
     '{"w": {"dtype": "??", "shape": [1], "data_offsets": [0, 4]}}', "{" + '"a":{' * 300],
)  # fmt: skip
def test_safetensors_that_lie_about_their_content_are_refused(path, header):
    content = struct.pack("<Q", len(header)) + header.encode() + b"\x00" * 4
    write_archive(path, {"w.safetensors": content})
    with pytest.raises(ArtifactError, match=r"w\.safetensors: not valid safetensors"):
        read_archive(path).tensors("w.safetensors")


@pytest.mark.parametrize("version", ["2.0", "0.9", "10.0"])
def test_another_major_version_is_refused(path, version):
    _pack(path, MEMBERS.items(), _manifest(MEMBERS.items(), version=version))
    _refused(path, f"format version {version}")


def test_a_newer_minor_version_is_read(path):
    _pack(path, MEMBERS.items(), _manifest(MEMBERS.items(), version="1.7", signed_by="someone"))
    assert read_archive(path).bytes("config.json") == MEMBERS["config.json"]


def test_an_unknown_manifest_key_of_this_version_is_refused(path):
    _pack(path, MEMBERS.items(), _manifest(MEMBERS.items(), signed_by="someone"))
    _refused(path, "signed_by")


def test_a_size_that_is_not_the_stated_one_is_refused(path):
    stated = Manifest.of({"a.json": b"12"}).model_dump()
    stated["members"]["a.json"]["size_bytes"] = 1
    text = json.dumps([["a.json", hashlib.sha256(b"12").hexdigest(), 1]])
    stated["content_hash"] = hashlib.sha256(text.encode()).hexdigest()
    _refused(_pack(path, [("a.json", b"12")], json.dumps(stated)), "has 2 bytes.*says 1")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(path):
    content = b"0" * 20_000_000
    _pack(path, [("a.json", content)], _manifest([("a.json", content)]))
    _refused(path, "zip bomb")


def test_a_stream_longer_than_its_entry_is_not_unpacked(path):
    content = b"0" * 900_000
    _pack(path, [("a.json", content)], _manifest([("a.json", content[:10])]))
    raw = path.read_bytes().replace(struct.pack("<L", 900_000), struct.pack("<L", 10))
    path.write_bytes(raw)
    _refused(path, "a.json|damaged")


def test_more_bytes_than_the_limit_are_refused(path):
    _refused(path, "allowed are 100", limit_bytes=100)


def test_a_very_compressible_member_is_written_so_that_it_can_be_read(path):
    write_archive(path, {"zeros.json": b"0" * 3_000_000})
    assert len(read_archive(path).bytes("zeros.json")) == 3_000_000


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_compression_is_refused(path, method):
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("a.json", b"1")
    _refused(path, "compression method")


def test_an_encrypted_member_is_refused(path):
    raw = bytearray(_pack(path, [("a.json", b"1")]).read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    _refused(path, "encrypted")


def test_asking_for_a_member_that_is_not_there_names_those_that_are(path):
    with pytest.raises(ArtifactError, match=r"no member 'x'.*config\.json"):
        read_archive(path).bytes("x")


def _check_mutant(path, content):
    path.write_bytes(content)
    try:
        archive = read_archive(path, limit_bytes=10**6)
    except ArtifactError:
        return
    assert {name: archive.bytes(name) for name in archive.names} == MEMBERS


def test_thousands_of_single_byte_mutations_are_refused_or_harmless(path):
    original, generator = path.read_bytes(), random.Random(0)
    for place in range(len(original)):
        for value in (original[place] ^ 1, 0, 255, generator.randrange(256)):
            mutant = bytearray(original)
            mutant[place] = value
            _check_mutant(path, bytes(mutant))


def test_thousands_of_torn_and_spliced_files_are_refused_or_harmless(path):
    original, generator = path.read_bytes(), random.Random(1)
    for _ in range(2000):
        low, high = sorted(generator.randrange(len(original)) for _ in range(2))
        middle = generator.choice(
            [b"", original[low:high] * 2, generator.randbytes(high - low), bytes(high - low)]
        )
        _check_mutant(path, original[:low] + middle + original[high:])


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_after_a_zip_signature_are_refused(content, tmp_path_factory):
    target = tmp_path_factory.getbasetemp() / "any.nxf"
    target.write_bytes(b"PK\x03\x04" + content)
    with pytest.raises(ArtifactError):
        read_archive(target)
