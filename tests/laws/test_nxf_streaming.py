"""A large ``.nxf`` file is written, checked, signed and read in the memory of a few pieces."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from nxf_mutants import _edit
from safetensors.torch import load, save
from tiny_nxf import tensors_of

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.tensor_table import (
    DTYPES,
    TensorContent,
    TensorReader,
    TensorTableError,
)
from nexus_model.schema import ArtifactError

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = 50 * 2**20
ALLOWED_MB = 60

CHILD = """
import json, sys
from pathlib import Path
from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.encryption import EnvelopeKey, decrypt_file, encrypt_file
from nexus_model.artifact.signature import SigningKey
from nexus_model.artifact.signing import sign_archive

def peak_mb():
    # Not ru_maxrss, which a child takes over from the process it was forked from.
    told = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(told.split()[0]) / 1024

folder, found = Path(sys.argv[1]), {}
key, before = EnvelopeKey.generate(), peak_mb()
def after(name, done):
    found[name] = round(peak_mb() - before, 1)
    return done
after("write", write_archive(folder / "a.nxf", {"a.json": b"{}", "w.safetensors": folder / "w"}))
after("verify", read_archive(folder / "a.nxf"))
archive = read_archive(folder / "a.nxf")
few = after("few tensors", archive.tensors("w.safetensors", ["few"]))
assert few["few"].tolist() == [0.0] * 5 and list(few) == ["few"]
after("copy", write_archive(folder / "b.nxf", {"copied": folder / "w"}))
after("sign", sign_archive(folder / "a.nxf", SigningKey.generate()))
after("encrypt", encrypt_file(folder / "a.nxf", folder / "e", key))
after("verify encrypted", read_archive(folder / "e", key=key))
after("decrypt", decrypt_file(folder / "e", folder / "d", key))
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_200_megabytes_are_handled_in_less_than_60(tmp_path):
    header = {
        "many": {"dtype": "F32", "shape": [NUMBERS], "data_offsets": [0, 4 * NUMBERS]},
        "few": {"dtype": "F32", "shape": [5], "data_offsets": [4 * NUMBERS, 4 * NUMBERS + 20]},
    }
    with (tmp_path / "w").open("wb") as sparse:
        sparse.write(tensors_of(header))
        sparse.truncate(len(tensors_of(header)) + 4 * NUMBERS + 20)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) == 8
    assert max(found.values()) < ALLOWED_MB, found
    assert (tmp_path / "d").stat().st_size == (tmp_path / "a.nxf").stat().st_size > 200 * 2**20


def some_tensors():
    """One tensor of every type, and shapes that are easily got wrong."""
    numbers = torch.arange(12.0).reshape(3, 4)
    made = {f"t_{name}": numbers.to(dtype) for name, dtype in DTYPES.items()}
    return made | {
        'quoted "name"\n': torch.zeros(()), "\u00fc": torch.zeros(0, 3), "turned": numbers.t(),
        "every other": numbers[:, ::2], "shared": numbers,
    }  # fmt: skip


def test_tensors_are_written_as_safetensors_writes_them():
    given = some_tensors()
    expected = save({name: tensor.clone().contiguous() for name, tensor in given.items()})
    assert b"".join(TensorContent(given).pieces()) == expected
    assert b"".join(TensorContent({}).pieces()) == save({})


def test_tensors_come_back_as_they_were_each_in_memory_of_its_own(tmp_path):
    given = some_tensors()
    write_archive(tmp_path / "a.nxf", {"w.safetensors": TensorContent(given)})
    found = read_archive(tmp_path / "a.nxf").tensors("w.safetensors")
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert save({"x": found[name]}) == save({"x": tensor.clone().contiguous()})
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) >= len(given) - 1


@pytest.mark.parametrize("numbers", [1, 2**18 - 8, 2**18, 2**18 + 1, 2**19 + 3])
def test_tensors_across_the_borders_of_pieces_come_back(tmp_path, numbers):
    given = {"a": torch.arange(numbers), "b": torch.arange(7.0), "c": torch.rand(numbers)}
    write_archive(tmp_path / "a.nxf", {"w.safetensors": TensorContent(given)})
    archive = read_archive(tmp_path / "a.nxf")
    for only in (None, ["b"], ["a", "c"], [], ["nobody"]):
        found = archive.tensors("w.safetensors", only)
        assert set(found) == set(given if only is None else set(only) & set(given))
        assert all(torch.equal(found[name], given[name]) for name in found)


def test_a_type_the_format_does_not_know_is_refused():
    with pytest.raises(ArtifactError, match=r"'w': torch\.complex128 cannot be stored"):
        TensorContent({"w": torch.zeros(1, dtype=torch.complex128)})


def test_a_file_that_changes_while_it_is_written_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "w").write_bytes(tensors_of({}))

    def changing(path):
        (tmp_path / "w").write_bytes(tensors_of({" ": ""}))
        return real(path)

    from nexus_model.artifact import writing

    real = writing.replacing
    monkeypatch.setattr(writing, "replacing", changing)
    with pytest.raises(ArtifactError, match="was changed while it was written"):
        write_archive(tmp_path / "a.nxf", {"w.safetensors": tmp_path / "w"})
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_large_text_is_deflated_up_to_the_limit_and_stored_beyond(tmp_path, monkeypatch):
    monkeypatch.setattr("nexus_model.artifact.writing.LARGEST_DEFLATED", 2000)
    monkeypatch.setattr("nexus_model.artifact.writing.LARGEST_DEFLATED_TOTAL", 3000)
    text = b"ab" * 900
    members = {"a.txt": text, "b.txt": text, "c.txt": b"ab" * 1001}
    write_archive(tmp_path / "a.nxf", members)
    packed = {entry.name: entry.deflated for entry, _ in read_archive(tmp_path / "a.nxf").packed()}
    assert packed == {"manifest.json": True, "a.txt": True, "b.txt": False, "c.txt": False}


@pytest.mark.parametrize("seed", range(5))
def test_what_is_read_of_an_edited_header_is_what_safetensors_reads(seed):
    rng, read = random.Random(seed), 0
    for _ in range(400):
        stated = {
            "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "I16", "shape": [1], "data_offsets": [24, 26]},
        }
        _edit(stated, rng)
        content = tensors_of(stated, bytes(range(26)))
        try:
            found = TensorReader(len(content)).take([content[:5], content[5:]])
        except TensorTableError:
            continue
        expected = load(content)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
        read += 1
    assert read > 5
