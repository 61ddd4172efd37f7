"""``docs/nxf-format.md`` is true: a reader written from it alone reads what we write."""

import hashlib
import json
import re
import struct
import zipfile
import zlib
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import torch
from tiny_artifact import artifact

from nexus_model.artifact import encryption, limits, refusals, signature
from nexus_model.artifact.archive import read_archive
from nexus_model.artifact.manifest import MAJOR, MINOR, SCHEMA_FILE, hash_over, manifest_schema
from nexus_model.artifact.model_file import DESCRIPTIONS, FACTS, WEIGHTS
from nexus_model.artifact.tensor_table import DTYPES

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "nxf-format.md").read_text(encoding="utf-8")
SCHEMA = json.loads(files("nexus_model.artifact").joinpath(SCHEMA_FILE).read_text("utf-8"))


# --- A reader from the page alone: zipfile, json, hashlib, struct and nothing of ours. -----------
def read_nxf(path):
    """The members and the manifest, by sections 1, 2, 4 and 6 of the page."""
    raw = Path(path).read_bytes()
    if raw[:4] != b"PK\x03\x04" or raw[-22:-18] != b"PK\x05\x06":
        raise ValueError("not a .nxf file")
    count = struct.unpack("<H", raw[-12:-10])[0]
    if count > 4096:
        raise ValueError("too many members")
    with zipfile.ZipFile(path) as source:
        entries = source.infolist()
        place = 0
        for entry in entries:
            if entry.header_offset != place or entry.extra or entry.comment:
                raise ValueError(f"{entry.filename}: gap, overlap or extra field")
            if entry.compress_type not in (0, 8) or entry.flag_bits & ~0x0806:
                raise ValueError(f"{entry.filename}: not allowed in this format")
            place += 30 + len(entry.filename) + entry.compress_size
        contents = {entry.filename: source.read(entry) for entry in entries}
    manifest = json.loads(contents.pop("manifest.json"))
    contents.pop("signature.json", None)
    check_manifest(manifest, contents)
    return contents, manifest


def check_manifest(manifest, contents):
    """Format, version, names, hashes."""
    if manifest["format"] != "nxf" or manifest["version"].split(".")[0] != "1":
        raise ValueError("another format or major version")
    if set(contents) != set(manifest["members"]):
        raise ValueError("the manifest names other members")
    for name, content in contents.items():
        stated = manifest["members"][name]
        if (hashlib.sha256(content).hexdigest(), len(content)) != (
            stated["sha256"],
            stated["size_bytes"],
        ):
            raise ValueError(f"{name} was changed")
    lines = [[n, m["sha256"], m["size_bytes"]] for n, m in sorted(manifest["members"].items())]
    if hashlib.sha256(json.dumps(lines).encode()).hexdigest() != manifest["content_hash"]:
        raise ValueError("content_hash is wrong")


def read_tensors(content):
    """Name to type, shape and bytes, by section 4."""
    size = int.from_bytes(content[:8], "little")
    table, numbers = json.loads(content[8 : 8 + size]), content[8 + size :]
    table.pop("__metadata__", None)
    return {
        name: (t["dtype"], t["shape"], numbers[slice(*t["data_offsets"])])
        for name, t in table.items()
    }


# --------------------------------------------------------------------------------------------------
def written(tmp_path):
    """A real model's file, and what it was made of."""
    given = artifact()
    given.metrics = {"auroc": 0.5}
    given.save(tmp_path / "a.nxf")
    return tmp_path / "a.nxf", given


def test_a_reader_written_from_the_page_reads_a_real_artifact(tmp_path):
    path, given = written(tmp_path)
    contents, manifest = read_nxf(path)
    archive = read_archive(path)
    assert {name: archive.bytes(name) for name in archive.names} == contents
    assert manifest["content_hash"] == archive.content_hash
    assert json.loads(contents["recipe.json"]) == given.recipe.model_dump(mode="json")
    assert json.loads(contents["metrics.json"]) == {"auroc": 0.5}
    found = read_tensors(contents["weights.safetensors"])
    for name, weight in given.weights.items():
        dtype, shape, numbers = found[name]
        assert dtype == "F32"
        read = torch.frombuffer(bytearray(numbers), dtype=torch.float32).reshape(shape)
        assert torch.equal(read, weight)


def test_that_reader_has_at_most_60_lines_and_nothing_of_ours():
    text = Path(__file__).read_text("utf-8").split("# ---")[1]
    assert len(text.strip().splitlines()) <= 60
    assert "nexus_model" not in text


@pytest.mark.parametrize("sample", ["1.0.nxf", "1.0-anchor.nxf", "1.1.nxf", "1.1-signed.nxf"])
def test_that_reader_reads_every_sample(sample):
    contents, manifest = read_nxf(ROOT / "tests" / "data" / "nxf" / sample)
    assert manifest["version"] == sample[:3]
    assert "config.json" in contents


@pytest.mark.parametrize("name", ["manifest.json", "recipe.json", "weights.safetensors"])
def test_that_reader_refuses_a_changed_member(tmp_path, name):
    path, _ = written(tmp_path)
    with zipfile.ZipFile(path) as source:
        entry = source.getinfo(name)
    content = bytearray(path.read_bytes())
    content[entry.header_offset + 30 + len(name) + entry.compress_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises((ValueError, zipfile.BadZipFile, zlib.error)):
        read_nxf(path)


def test_the_table_of_limits_is_that_of_the_code():
    told = {
        name: int(value)
        for name, value in re.findall(r"^\| `([A-Z_]+)` \| (\d+) \|", PAGE, re.MULTILINE)
    }
    rules = {name: value for name, value in vars(limits).items() if name.isupper()}
    assert told == {name: value for name, value in rules.items() if name != "PIECE_BYTES"}


def test_the_page_is_of_the_version_that_is_written(tmp_path):
    assert PAGE.startswith(f"# The `.nxf` file, version {MAJOR}.{MINOR}\n")
    assert read_nxf(written(tmp_path)[0])[1]["version"] == f"{MAJOR}.{MINOR}"
    assert re.findall(r"^\| (\d\.\d) \|", PAGE, re.MULTILINE) == [
        f"{MAJOR}.{m}" for m in range(MINOR + 1)
    ]


def test_the_page_names_every_member_of_a_model(tmp_path):
    told = re.findall(r"^\| `([a-z]+\.(?:json|safetensors))` \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted((*DESCRIPTIONS, *FACTS, WEIGHTS))
    assert sorted(told) == sorted(read_nxf(written(tmp_path)[0])[0])


def test_the_page_names_every_type_suffix_and_constant():
    types = re.search(r"Types: `([A-Z0-9_\s]+)`", PAGE)[1].split()
    assert types == list(DTYPES)
    suffixes = re.search(r"`(\.pkl [a-z0-9. ]+)`", PAGE)[1].split()
    assert tuple(suffixes) == refusals._PICKLE_SUFFIXES
    for constant in (signature.SIGNED_PREFIX.strip(), encryption.HKDF_INFO, encryption.MAGIC):
        assert f"`{constant.decode()}`" in PAGE
    assert encryption._HEADER.size == 40
    assert encryption._NONCE.pack(258, 1).hex() == "00" * 7 + "00000102" + "01"


def test_the_example_of_the_content_hash_is_right():
    line, told = re.search(
        r"^(\[\[.*\]\])\ncontent_hash = ([0-9a-f]{64})$", PAGE, re.MULTILINE
    ).groups()
    assert hashlib.sha256(line.encode()).hexdigest() == told
    from nexus_model.artifact.manifest import describe

    assert hash_over({"a.json": describe(b"{}")}) == told


def test_the_stored_schema_is_that_of_the_manifest_and_ships_with_the_package():
    assert manifest_schema() == SCHEMA


def test_the_schema_accepts_our_manifest_and_refuses_what_we_refuse(tmp_path):
    _, manifest = read_nxf(written(tmp_path)[0])
    check = jsonschema.Draft202012Validator(SCHEMA)
    check.validate(manifest)
    spec = manifest["members"]["config.json"]
    for wrong in (
        {"format": "zip"}, {"version": "1"}, {"content_hash": "0"}, {"more": 1},
        {"members": {"../a": spec}}, {"members": {"signature.json": spec}},
        {"members": {"a": {"sha256": "0" * 64}}},
        {"members": {"a": spec | {"size_bytes": -1}}}, {"members": {"a" * 256: spec}},
    ):  # fmt: skip
        assert not check.is_valid(manifest | wrong), wrong
    assert not any(check.is_valid({k: v for k, v in manifest.items() if k != m}) for m in manifest)


def test_the_signature_is_verified_as_the_page_says():
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    folder = ROOT / "tests" / "data" / "nxf"
    key = load_pem_public_key((folder / "signing-public.pem").read_bytes())
    with zipfile.ZipFile(folder / "1.1-signed.nxf") as source:
        stated, manifest = json.loads(source.read("signature.json")), source.read("manifest.json")
    assert stated["key_id"] == hashlib.sha256(key.public_bytes_raw()).hexdigest()
    key.verify(bytes.fromhex(stated["signature"]), b"nxf-manifest-signature-1\n" + manifest)


def test_the_envelope_is_opened_as_the_page_says():
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    folder = ROOT / "tests" / "data" / "nxf"
    raw = (folder / "1.1-signed.nxf.enc").read_bytes()
    assert raw[:8] == b"NXFE\x01\x14\x00\x00"
    key = HKDF(SHA256(), 32, raw[8:40], b"nxf-envelope-1").derive(bytes(range(32)))
    nonce = bytes(7) + (0).to_bytes(4, "big") + b"\x01"
    found = AESGCM(key).decrypt(nonce, raw[40:], raw[:40])
    assert found == (folder / "1.1-signed.nxf").read_bytes()


def test_links_of_the_page_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).is_file()
    for named in re.findall(r"`((?:tests|nexus_model)/[a-z_/.]+)`", PAGE):
        assert (ROOT / named).exists(), named
