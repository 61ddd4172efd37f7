"""Every version of ``.nxf`` there ever was stays readable; stored samples prove it.

The files of ``tests/data/nxf`` are never written again. ``1.0-configuration-1.nxf``,
``1.0-anchor.nxf`` and ``1.0.nxf`` were written by three states of this repository, before 1.1.
"""

import datetime as dt
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_artifact import artifact
from tiny_nxf import entry, manifest_of, raw_zip

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.encryption import EnvelopeKey
from nexus_model.artifact.manifest import MAJOR, MINOR
from nexus_model.artifact.migrations import STEPS, _grid_per_split, migrate
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.artifact.signature import PublicKey
from nexus_model.schema import ArtifactError
from nexus_model.serve.predictor import load_model

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "nxf"
STORED = json.loads((SAMPLES / "predictions.json").read_text("utf-8"))


def stored_frames():
    """The raw tables the stored predictions were made from."""
    return {path.stem: pq.read_table(path) for path in (SAMPLES / "frames").iterdir()}


def as_version(path, version, change=lambda name, parsed: parsed):
    """The stored 1.1 sample, said to be of this version, its JSON members changed."""
    archive = read_archive(SAMPLES / "1.1.nxf")
    members = {name: archive.bytes(name) for name in archive.names}
    for name in [name for name in members if name.endswith(".json")]:
        members[name] = json.dumps(change(name, json.loads(members[name]))).encode()
    manifest = entry("manifest.json", manifest_of(members, version=version, written_by="someone"))
    path.write_bytes(raw_zip([manifest] + [entry(name, members[name]) for name in members]))
    return path


@pytest.mark.parametrize("name", STORED["predictions"])
def test_a_stored_sample_predicts_what_it_predicted_when_it_was_written(name):
    found = load_model(SAMPLES / name).predict(stored_frames(), STORED["cutoff"])
    assert found["prediction"].to_pylist() == pytest.approx(STORED["predictions"][name], abs=1e-6)


def test_there_is_a_sample_of_every_minor_version():
    found = {read_archive(SAMPLES / name).manifest.version for name in STORED["predictions"]}
    assert found == {f"{MAJOR}.{minor}" for minor in range(MINOR + 1)}
    assert sorted(STEPS) == list(range(MINOR))


def test_a_sample_whose_network_is_gone_says_so():
    assert "config.json" in read_archive(SAMPLES / "1.0-configuration-1.nxf").names
    with pytest.raises(ArtifactError, match=r"configuration version 1\) is no longer built"):
        NexusFlowModelArtifact.load(SAMPLES / "1.0-configuration-1.nxf")


def test_the_stored_signed_sample_is_read_plain_and_encrypted():
    signer = PublicKey.read(SAMPLES / "signing-public.pem")
    plain = read_archive(SAMPLES / "1.1-signed.nxf", require_signature=signer)
    key = EnvelopeKey(bytes(range(32)))
    sealed = read_archive(SAMPLES / "1.1-signed.nxf.enc", require_signature=signer, key=key)
    assert plain.json("config.json") == sealed.json("config.json") == {"width": 8}
    assert plain.tensors("weights.safetensors")["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_newer_minor_version_that_says_more_is_read_and_predicts_the_same(tmp_path):
    def with_more(name, parsed):
        if name == "recipe.json":
            parsed["task"]["mood"] = {"newer": [1]}
        return parsed | {"said_by_1_7": 1}

    path = as_version(tmp_path / "a.nxf", "1.7", with_more)
    found = load_model(path).predict(stored_frames(), STORED["cutoff"])
    assert found["prediction"].to_pylist() == pytest.approx(
        STORED["predictions"]["1.1.nxf"], abs=1e-6
    )


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_the_same_keys_in_a_version_we_know_are_refused(tmp_path, version):
    path = as_version(tmp_path / "a.nxf", version)
    with pytest.raises(ArtifactError, match="written_by"):
        NexusFlowModelArtifact.load(path)


@pytest.mark.parametrize("version", ["2.0", "2.7", "0.9"])
def test_another_major_version_is_refused_with_what_to_do(tmp_path, version):
    path = as_version(tmp_path / "a.nxf", version)
    with pytest.raises(ArtifactError, match=r"reads 1\.x; use the library version that wrote it"):
        NexusFlowModelArtifact.load(path)


def test_steps_are_taken_in_order_from_the_version_of_the_file():
    steps = {0: lambda m: m | {"told": [*m["told"], 0]}, 1: lambda m: m | {"told": [*m["told"], 1]}}
    taken = [migrate({"told": []}, minor, steps)["told"] for minor in (0, 1, 2, 7)]
    assert taken == [[0, 1], [1], [], []]


@given(
    anchor=st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2020, 1, 1)),
    step=st.integers(1, 40),
    horizon=st.integers(1, 40),
    days=st.integers(1, 400),
)
def test_a_migrated_grid_has_the_moments_it_had(anchor, step, horizon, days):
    import duckdb

    from nexus_model.align.samples import Grid, cutoffs_select

    told = {"anchor": anchor.isoformat(), "step_days": step, "horizon_days": horizon}
    if step >= 2 * horizon:
        with pytest.raises(ValueError, match="twice the horizon"):
            _grid_per_split(told)
        return
    first, last = anchor - dt.timedelta(days=days), anchor + dt.timedelta(days=days // 2)
    select = cutoffs_select(Grid.model_validate(_grid_per_split(told)), first, last)
    found = duckdb.sql(f"select cutoff from ({select}) where is_regular").fetchall()
    every = (anchor + dt.timedelta(days=step * place) for place in range(-400, 401))
    fits = [at for at in every if first <= at <= last - dt.timedelta(days=horizon)]
    assert [row[0] for row in found] == fits


@pytest.mark.parametrize(
    "grid", [{"anchor": 1}, {"anchor": "soon", "step_days": 1}, {"anchor": {}}]
)
def test_an_old_grid_that_cannot_be_read_is_an_artifact_error(tmp_path, grid):
    archive = read_archive(SAMPLES / "1.0-anchor.nxf")
    members = {name: archive.bytes(name) for name in archive.names}
    members["recipe.json"] = json.dumps(archive.json("recipe.json") | {"grid": grid}).encode()
    manifest = entry("manifest.json", manifest_of(members, version="1.0"))
    path = tmp_path / "a.nxf"
    path.write_bytes(raw_zip([manifest] + [entry(name, members[name]) for name in members]))
    with pytest.raises(ArtifactError, match="its cutoffs cannot be read"):
        NexusFlowModelArtifact.load(path)


@pytest.mark.parametrize("name", ["metrics.json", "recipe.json", "config.json"])
@pytest.mark.parametrize("content", [b"[]", b"1", b'"text"', b"null"])
def test_a_description_that_is_no_object_is_an_artifact_error(tmp_path, name, content):
    artifact().save(tmp_path / "a.nxf")
    archive = read_archive(tmp_path / "a.nxf")
    members = {member: archive.bytes(member) for member in archive.names}
    write_archive(tmp_path / "a.nxf", members | {name: content})
    with pytest.raises(ArtifactError, match=name):
        NexusFlowModelArtifact.load(tmp_path / "a.nxf")
