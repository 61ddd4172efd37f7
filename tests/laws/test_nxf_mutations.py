"""Thousands of mutated ``.nxf`` files: refused, or read as written; nothing is ever executed."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nxf_mutants import MUTATORS, REHASHED, Watch, _edit, _text, originals, outcome
from tiny_artifact import artifact

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_model.artifact.model_file import DESCRIPTIONS, FACTS, NexusFlowModelArtifact
from nexus_model.schema import ArtifactError

TESTS = Path(__file__).resolve().parents[1]
COUNT = 10_500


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What happened to ``COUNT`` mutants in a process of their own."""
    folder = tmp_path_factory.mktemp("mutants")
    environment = os.environ | {
        "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(TESTS / "nxf_mutants.py"), str(folder), str(COUNT), "6"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_ten_thousand_mutants_and_more_are_refused_or_read_as_written(report):
    found = report["found"]
    assert found["refused"] + found["same"] + found["other content"] == COUNT >= 10_000
    assert found["refused"] > COUNT / 2
    assert found["same"] > 100


def test_every_kind_of_mutation_was_tried_hundreds_of_times(report):
    tried = {kind.__name__: report["found"][kind.__name__] for kind in MUTATORS}
    assert min(tried.values()) > 500, tried


def test_nothing_was_executed_imported_or_opened_beside_the_mutant(report):
    assert report["executed"] == {}


def test_no_mutant_took_long(report):
    assert report["slowest_s"] < 2


def test_the_watch_hears_what_must_not_happen(tmp_path):
    watch = Watch()
    watch.path = str(tmp_path / "a")
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    eval(compile("1", "x", "eval"))
    watch.path = None
    heard = " ".join(watch.heard)
    assert all(event in heard for event in ("exec", "compile", "/a'", "/b'"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder, and right files as bytes."""
    folder = tmp_path_factory.mktemp("mutant")
    return folder, originals(folder)[0]


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32), kinds=st.lists(st.sampled_from(MUTATORS), min_size=1, max_size=4)
)
def test_mutations_on_mutations_are_refused_or_read_as_written(made, seed, kinds):
    (folder, every), rng = made, random.Random(seed)
    content = bytearray(every["plain"])
    for kind in kinds:
        content = content or bytearray(b"x")
        kind(content, rng, list(every.values()))
    (folder / "a.nxf").write_bytes(content)
    rehashed = next((kind for kind in kinds if kind in REHASHED), kinds[0])
    assert outcome(folder / "a.nxf", rehashed, {}) in {"refused", "same", "other content"}


@pytest.mark.parametrize("seed", range(8))
def test_a_model_whose_descriptions_were_edited_loads_or_is_refused(seed, tmp_path):
    artifact().save(tmp_path / "a.nxf")
    archive, rng = read_archive(tmp_path / "a.nxf"), random.Random(seed)
    members = {name: archive.bytes(name) for name in archive.names}
    loaded = 0
    for _ in range(40):
        name = rng.choice((*DESCRIPTIONS, *FACTS))
        stated = json.loads(members[name])
        for _ in range(rng.choice((1, 1, 3))):
            _edit(stated, rng)
        write_archive(tmp_path / "b.nxf", members | {name: _text(stated, rng)})
        try:
            NexusFlowModelArtifact.load(tmp_path / "b.nxf")
        except ArtifactError:
            continue
        loaded += 1
    assert loaded < 40
