"""A shop that was run once, and a warm process that starts commands in copies of it."""

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmarks.faults.matrix import STAGES
from benchmarks.faults.shop import Ended, Place, Runner, State, leftovers, lost_rows, state_of


class Scene(NamedTuple):
    """A copy of the shop in which a raw value was changed, so that its table is to be made."""

    place: Place
    runner: Runner
    expected: State

    def meets(self, kind: str, key: str, word: str = "validate", **fault: object) -> Ended:
        """A run that meets a fault."""
        return self.run(word, fault={**fault, "kind": kind, "key": key})

    def run(self, word: str = "validate", **asked: object) -> Ended:
        """A run of a command, or of one stage alone."""
        if word in STAGES:
            return self.runner.wait(*self.runner.start(self.place, stages=[word], **asked))
        return self.runner.run(self.place, word, **asked)

    def forget(self, *keys: str) -> None:
        """Let these assets, and nothing else, be made again."""
        for key in keys:
            (self.place.records.folder / f"shop.{key.replace('/', '.')}.json").unlink()

    def check(self, ended: Ended) -> None:
        """The run completed, with the undisturbed results, and nobody left anything."""
        assert ended.code == 0, ended.told
        now = state_of(self.place)
        assert lost_rows(now.rows, self.expected.rows) == 0
        assert now == self.expected
        assert leftovers(self.place) == []


@pytest.fixture(scope="session")
def runner():
    warm = Runner()
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def done(runner: Runner, tmp_path_factory) -> Path:
    """A shop after a whole run."""
    place = new_place(tmp_path_factory.mktemp("faults"))
    place.make()
    ended = runner.wait(*runner.start(place, stages=list(STAGES)))
    assert ended.code == 0, ended.told
    runner.warm(place.notes / "modules.json")
    return place.root


def new_place(parent: Path) -> Place:
    place = Place(parent / "place")
    place.root.mkdir()
    place.notes.mkdir()
    return place


@pytest.fixture(scope="session")
def undisturbed(runner: Runner, done: Path, tmp_path_factory) -> State:
    """What is found when nothing goes wrong."""
    place = new_place(tmp_path_factory.mktemp("undisturbed"))
    place.restore(done)
    place.change()
    ended = runner.run(place, "validate")
    assert ended.code == 0, ended.told
    return state_of(place)


@pytest.fixture
def scene(runner: Runner, done: Path, undisturbed: State, tmp_path: Path):
    """The run shop, with another value in a raw file."""
    place = new_place(tmp_path)
    place.restore(done)
    place.change()
    yield Scene(place, runner, undisturbed)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def unchanged(runner: Runner, done: Path, tmp_path: Path) -> Scene:
    """The run shop as it is."""
    place = new_place(tmp_path)
    place.restore(done)
    return Scene(place, runner, state_of(place))
