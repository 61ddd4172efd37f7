"""Hostile ``.nxf`` files: every trick is refused by name, in little time and memory."""

import json
import os
import pickle  # noqa: TID251 - to make what must never be opened
import resource
import struct
import time
import tracemalloc
import zlib

import pytest
from safetensors.torch import save
from tiny_nxf import entry, manifest_of, nxf_of, raw_zip, tensors_of

from nexus_model.artifact import limits
from nexus_model.artifact.archive import open_archive, read_archive, write_archive
from nexus_model.artifact.manifest import SIGNATURE
from nexus_model.schema import ArtifactError

MEMBERS = {"a.json": b'{"a": 1}', "b.json": b'{"b": 2}'}
GOOD = nxf_of(MEMBERS)


def with_one(*given, **changes):
    """A file whose one member has these fields changed."""
    content = b'{"a": 1}'
    manifest = entry("manifest.json", manifest_of({"a.json": content}))
    return raw_zip([manifest, entry(*(given or ("a.json", content)), **changes)])


def overlapping():
    """Two directory records of one place."""
    found = nxf_of({"a.json": b"1", "b.json": b"1"})
    first = struct.unpack_from("<L", found, found.index(b"PK\x01\x02") + 42)
    return found.replace(struct.pack("<L", first[0]), struct.pack("<L", 0)), "x"


ZIP64 = struct.pack("<HHQQ", 1, 16, 8, 8)
TRICKS = {
    "prepended": (nxf_of(MEMBERS, before=b"MZ" + bytes(90)), "not a zip"),
    "a zip before": (GOOD + GOOD, "does not follow|not where the end record"),
    "appended": (GOOD + b"\x00", "does not end with a zip's end record"),
    "comment": (nxf_of(MEMBERS, comment=4, after=b"PK\x05\x06"), "does not end with"),
    "comment counted": (nxf_of(MEMBERS, comment=4), "several disks or a comment"),
    "gap": (nxf_of(MEMBERS, between=b"\x00" * 8), "bytes between the members"),
    "gap hidden": (nxf_of(MEMBERS, between=b"\x00", place=0), "not where the end record says"),
    "two disks": (nxf_of(MEMBERS, disk=1), "several disks"),
    "fewer members": (nxf_of(MEMBERS, count=2, here=2), "bytes between"),
    "more members": (nxf_of(MEMBERS, count=4, here=4), "directory record is broken"),
    "million members": (nxf_of(MEMBERS, count=65535, here=65535), "has 65535 members, allowed"),
    "overlap": (with_one(central_offset=0), "does not follow the member before it"),
    "far away": (with_one(central_offset=2**32 - 1), "does not follow"),
    "two names": (with_one(local_name=b"b.json"), "described in two ways"),
    "two sizes": (with_one(local_size=9), "described in two ways"),
    "two methods": (with_one(local_method=8), "described in two ways"),
    "two checksums": (with_one(local_crc=1), "described in two ways"),
    "sizes later": (with_one(flags=8), "features of zip that are not allowed"),
    "sizes differ": (with_one(size=9), "stored but changes its size"),
    "checksum": (with_one(crc=1), "CRC or size differs"),
    "zip64 member": (with_one(extra=ZIP64, packed=2**32 - 1, size=2**32 - 1), "extra fields"),
    "zip64 version": (with_one(version=45), "features of zip"),
    "zip64 end": (nxf_of(MEMBERS, place=2**32 - 1), "not where the end record says"),
    "zip64 locator": (nxf_of(MEMBERS)[:-22] + b"PK\x06\x07" + bytes(16) + GOOD[-22:], "not where"),
    "extra field": (with_one(extra=b"up\x01\x00x"), "extra fields"),
    "member comment": (with_one(central_comment=b"x"), "comments"),
    "strong encryption": (with_one(flags=0x41), "encrypted"),
    "link": (with_one(attributes=0o120777 << 16), "is a link"),
    "folder": (with_one(attributes=0o040755 << 16), "is a link, folder"),
    "dos folder": (with_one(attributes=0x10), "is a link, folder"),
    "device": (with_one(attributes=0o020666 << 16), "is a link, folder or device"),
    "NUL in a name": (with_one(b"a.json\x00.exe", b"1"), "not a plain relative path"),
    "not ASCII": (with_one("\u00e9.json", b"1"), "not a plain relative path"),
    "decomposed": (with_one("e\u0301.json", b"1"), "not a plain relative path"),
    "right to left": (with_one("a\u202enosj", b"1"), "not a plain relative path"),
    "not UTF-8": (with_one(b"\xff.json", b"1"), "not a plain relative path"),
    "line break": (with_one("a.json\n", b"1"), "not a plain relative path"),
    "hidden": (with_one("a/.ssh/key", b"1"), "not a plain relative path"),
    "trailing dot": (with_one("a.json.", b"1"), "not a plain relative path"),
    "no name": (with_one("", b"1"), "not a plain relative path"),
    "long name": (with_one("a" * 256, b"1"), "longer than 255"),
    "long name cut": (with_one(central_name=b"a" * 300), "name|described|not where"),
    "other case": (nxf_of({"a.json": b"1", "A.json": b"1"}), "differs from another in case only"),
    "manifest twice": (nxf_of(MEMBERS, extra=[entry("manifest.json", b"{}")]), "occurs twice"),
    "manifest in other case": (nxf_of(MEMBERS, extra=[entry("Manifest.json", b"{}")]), "in case"),
    "bad signature": (nxf_of(MEMBERS, extra=[entry(SIGNATURE, b"{}")]), "signature.json"),
    "large signature": (nxf_of(MEMBERS, extra=[entry(SIGNATURE, b" " * 5000)]), "larger than 4096"),
}  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_a_trick_is_refused_by_name(trick, tmp_path):
    content, reason = TRICKS[trick]
    (tmp_path / "a.nxf").write_bytes(content)
    with pytest.raises(ArtifactError, match=reason):
        read_archive(tmp_path / "a.nxf")


def test_a_file_made_by_hand_without_a_trick_is_read(tmp_path):
    (tmp_path / "a.nxf").write_bytes(GOOD)
    assert read_archive(tmp_path / "a.nxf").bytes("b.json") == MEMBERS["b.json"]


def test_a_million_members_cost_no_time_and_no_memory(tmp_path):
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, *[0] * 14)
    directory = (record + b"n") * 10**6
    zip64 = struct.pack(
        "<4sQ2H2L4Q4sLQL", b"PK\x06\x06", 44, 45, 45, 0, 0, 10**6, 10**6, len(directory), 4,
        b"PK\x06\x07", 0, 4 + len(directory), 1,
    )  # fmt: skip
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    (tmp_path / "a.nxf").write_bytes(b"PK\x03\x04" + directory + zip64 + end)
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(ArtifactError, match="has 65535 members, allowed are 4096"):
        read_archive(tmp_path / "a.nxf")
    assert time.perf_counter() - began < 0.5
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_as_many_members_as_allowed_are_read_and_one_more_is_neither_written_nor_read(tmp_path):
    members = {f"m/{place}.json": b"1" for place in range(limits.MOST_MEMBERS - 2)}
    write_archive(tmp_path / "a.nxf", members)
    assert len(read_archive(tmp_path / "a.nxf").names) == limits.MOST_MEMBERS - 2
    with pytest.raises(ArtifactError, match="allowed are 4094"):
        write_archive(tmp_path / "b.nxf", members | {"more.json": b"1"})
    (tmp_path / "b.nxf").write_bytes(nxf_of(members | {"more.json": b"1"}))
    with pytest.raises(ArtifactError, match="lists 4095 members"):
        read_archive(tmp_path / "b.nxf")


def test_many_small_bombs_are_refused_before_any_is_unpacked(tmp_path):
    content = bytes(2**20)
    members = [entry(f"{place}.json", content, deflate=True) for place in range(300)]
    (tmp_path / "a.nxf").write_bytes(raw_zip([entry("manifest.json", b"{}"), *members]))
    with pytest.raises(ArtifactError, match=r"deflated members unpack to .* zip bomb"):
        read_archive(tmp_path / "a.nxf")


@pytest.mark.parametrize("tail", [b"\x00", zlib.compress(b"more", wbits=-15)])
def test_a_deflated_member_with_something_behind_it_is_refused(tmp_path, tail):
    content = b'{"a": 1}' * 50
    made = entry("a.json", content, deflate=True)
    made |= {"data": made["data"] + tail, "packed": made["packed"] + len(tail)}
    manifest = entry("manifest.json", manifest_of({"a.json": content}))
    (tmp_path / "a.nxf").write_bytes(raw_zip([manifest, made]))
    with pytest.raises(ArtifactError, match=r"a\.json"):
        read_archive(tmp_path / "a.nxf")


def test_bytes_behind_a_deflate_stream_that_ends_with_a_piece_are_refused(tmp_path):
    sizes = range(limits.PIECE_BYTES - 200, limits.PIECE_BYTES)
    packed = (zlib.compress(bytes(size), 0, wbits=-15) for size in sizes)
    exact = next(found for found in packed if len(found) == limits.PIECE_BYTES)
    content = zlib.decompress(exact, wbits=-15)
    manifest = entry("manifest.json", manifest_of({"a.json": content}))
    for tail in (b"", b"more"):
        data = exact + tail
        made = entry("a.json", content, method=8, packed=len(data), data=data)
        (tmp_path / f"{len(tail)}.nxf").write_bytes(raw_zip([manifest, made]))
    assert len(read_archive(tmp_path / "0.nxf").bytes("a.json")) == len(content)
    with pytest.raises(ArtifactError, match="goes on after its end"):
        read_archive(tmp_path / "4.nxf")


class Harmful:
    """Unpickled, it would make a file."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def opened(path, name):
    """The member as what its name says."""
    archive = read_archive(path)
    return archive.tensors(name) if name.endswith("tensors") else archive.json(name)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["config.json", "weights.safetensors"])
def test_a_pickle_under_any_name_is_never_executed(tmp_path, monkeypatch, protocol, name):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Harmful(), protocol)
    (tmp_path / "a.nxf").write_bytes(nxf_of({name: content}))
    with pytest.raises(ArtifactError):
        opened(tmp_path / "a.nxf", name)
    assert not (tmp_path / "executed").exists()


def one(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


ABSURD = {
    "10^18 numbers": one(shape=[10**18]),
    "10^18 by 0": one(shape=[10**18, 0], offsets=[0, 0]),
    "2^63 twice": one(shape=[2**63, 2**63]),
    "overflow to 4 bytes": one(shape=[2**62, 4, 1]),
    "negative": one(shape=[-1], offsets=[4, 0]),
    "negative twice": one(shape=[-1, -1]),
    "true": one(shape=[True]),
    "float": one(shape=[1.0]),
    "many axes": one(shape=[1] * 10**5),
    "offsets far": one(offsets=[2**63, 2**63 + 4]),
    "offsets turned": one(offsets=[4, 0]),
    "offset text": one(offsets=["0", "4"]),
    "unknown key": {"w": one()["w"] | {"run": "os.system"}},
    "unknown type": one(dtype="O"),
    "type list": {"w": one()["w"] | {"dtype": []}},
    "overlap": {"v": one()["w"], "w": one()["w"]},
    "hole": {"v": one(shape=[0], offsets=[0, 0])["w"], "w": one(offsets=[1, 5])["w"]},
    "metadata": {"__metadata__": {"a": 1}, **one()},
    "no boolean": one(dtype="BOOL", shape=[4]),
    "not all": {},
}


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_tensor_is_refused_without_its_memory(tmp_path, name):
    content = tensors_of(ABSURD[name], b"\x00\x00\x80\x3f")
    write_archive(tmp_path / "a.nxf", {"w.safetensors": content})
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ArtifactError, match=r"w\.safetensors: not valid safetensors"):
        read_archive(tmp_path / "a.nxf").tensors("w.safetensors")
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    tracemalloc.stop()


def test_more_tensors_than_allowed_are_refused(tmp_path):
    header = {str(n): one(shape=[0], offsets=[0, 0])["w"] for n in range(limits.MOST_TENSORS + 1)}
    write_archive(tmp_path / "a.nxf", {"w.safetensors": tensors_of(header)})
    with pytest.raises(ArtifactError, match="100001 tensors, allowed are 100000"):
        read_archive(tmp_path / "a.nxf").tensors("w.safetensors")


JSON = {
    "deep lists": (b"[" * 101 + b"]" * 101, "nested too deep: 101 levels"),
    "deep objects": (b'{"a":' * 10**5 + b"1" + b"}" * 10**5, "nested too deep"),
    "deep after a string": (b'["[\\"[", ' + b"[" * 10**6, "nested too deep"),
    "many quotes": (b'"\\"' * 10**6 + b"[" * 101, "not valid JSON"),
    "many values": (b"[" + b"1," * 4_000_001 + b"1]", "of about 4000002 values, allowed"),
    "a key twice": (b'{"a": 1, "a": 2}', "a key is given twice"),
    "a long number": (b"1" * 10**6, "not valid JSON"),
    "UTF-16": (json.dumps({"a": 1}).encode("utf-16"), "not valid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "not valid JSON"),
    "nothing": (b"", "not valid JSON"),
}


@pytest.mark.parametrize("name", JSON)
def test_hostile_json_is_refused_soon(tmp_path, name):
    content, reason = JSON[name]
    write_archive(tmp_path / "a.nxf", {"a.json": content})
    archive, began = open_archive(tmp_path / "a.nxf"), time.perf_counter()
    with pytest.raises(ArtifactError, match=rf"a\.json: .*{reason}"):
        archive.json("a.json")
    assert time.perf_counter() - began < 3


def test_json_as_deep_as_allowed_is_read_and_brackets_in_strings_do_not_count(tmp_path):
    deepest = b"[" * 100 + b"]" * 100
    texts = json.dumps(["[" * 500, '"' + "{" * 500, "\\"]).encode()
    write_archive(tmp_path / "a.nxf", {"a.json": deepest, "b.json": texts})
    archive = read_archive(tmp_path / "a.nxf")
    assert archive.json("b.json") == ["[" * 500, '"' + "{" * 500, "\\"]
    assert archive.json("a.json") != []


def test_json_larger_than_allowed_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr("nexus_model.artifact.archive.LARGEST_JSON", 10)
    write_archive(tmp_path / "a.nxf", {"a.json": b" " * 11})
    with pytest.raises(ArtifactError, match=r"a\.json: JSON of 11 bytes, allowed are 10"):
        read_archive(tmp_path / "a.nxf").json("a.json")


def test_a_strangers_text_in_an_error_is_short_and_printable(tmp_path):
    key = "\ud800\x1b[31m" + "x" * 10**5
    content = manifest_of(MEMBERS, **{key: 1})
    (tmp_path / "a.nxf").write_bytes(raw_zip([entry("manifest.json", content)]))
    with pytest.raises(ArtifactError) as caught:
        read_archive(tmp_path / "a.nxf")
    told = str(caught.value).removeprefix(str(tmp_path))
    assert told.isprintable()
    assert told.isascii()
    assert len(told) < 400


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.nxf")
    for name in ("pipe.nxf", "."):
        with pytest.raises(ArtifactError, match="no such file"):
            read_archive(tmp_path / name)


def test_a_member_changed_after_it_was_checked_is_not_given_out(tmp_path):
    path = tmp_path / "a.nxf"
    write_archive(path, {"a.json": b'{"a": 1}', "w.safetensors": save({})})
    archive = read_archive(path)
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.write(content.replace(save({}), save({})[:-1] + b"\n"))
    with pytest.raises(ArtifactError, match=r"w\.safetensors"):
        archive.tensors("w.safetensors")


def test_a_file_replaced_after_it_was_opened_is_still_the_one_that_was_checked(tmp_path):
    write_archive(tmp_path / "a.nxf", {"a.json": b"1"})
    archive = read_archive(tmp_path / "a.nxf")
    write_archive(tmp_path / "a.nxf", {"a.json": b"2"})
    assert archive.json("a.json") == 1
    (tmp_path / "a.nxf").unlink()
    assert archive.json("a.json") == 1


def test_a_file_cut_off_after_it_was_opened_is_an_error(tmp_path):
    write_archive(tmp_path / "a.nxf", {"a.safetensors": save({})})
    archive = read_archive(tmp_path / "a.nxf")
    os.truncate(tmp_path / "a.nxf", 40)
    with pytest.raises(ArtifactError, match="became shorter while read"):
        archive.bytes("a.safetensors")
