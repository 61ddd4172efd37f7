"""Two processes train as one: by either strategy, from each other's checkpoints, and repeatably."""

import os
from pathlib import Path

import pytest
import two_ranks
from safetensors import safe_open
from tiny_training import weights

from nexus_model.schema import TrainingError
from nexus_model.train.config import Strategy
from nexus_pipeline.steps.launch import launch, threads_each

TESTS = Path(two_ranks.__file__).parent
ROUNDING = 1e-6
pytestmark = pytest.mark.slow


class Left:
    """What the processes left: weights and scores by training and rank."""

    def __init__(self, folder):
        self.folder = folder
        self.one = two_ranks.fitted(two_ranks.begun(), folder / "one")
        self.also = two_ranks.fitted_also()

    def weights(self, name):
        with safe_open(self.folder / f"{name}.safetensors", "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def curve(self, name):
        with safe_open(self.folder / f"{name}.safetensors", "pt") as file:
            return [float(score) for score in file.metadata()["curve"][1:-1].split(",")]


@pytest.fixture(scope="module")
def left(tmp_path_factory):
    """The only start of processes in this file; they find what one process made, and go on."""
    found, lines = Left(tmp_path_factory.mktemp("ranks")), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join((str(TESTS), str(TESTS.parent))))
        try:
            launch("two_ranks", (str(found.folder),), 2, lines.append)
        except TrainingError:
            pytest.fail("\n".join(lines))
    return found


def gap(ours, theirs):
    """The largest difference between two sets of weights that were both trained."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.parametrize("strategy", Strategy)
def test_two_processes_train_the_weights_of_one(left, strategy):
    one, begun = weights(left.one), weights(two_ranks.begun())
    assert gap(left.weights(f"{strategy}_0"), one) < ROUNDING < 3e-3 < gap(one, begun)
    scores = [report.score for report in left.one.progress.curve]
    assert left.curve(f"{strategy}_0") == pytest.approx(scores, abs=0.002)


@pytest.mark.parametrize("strategy", Strategy)
def test_two_processes_learn_further_labels_as_one_does(left, strategy):
    one, alone = weights(left.also), weights(left.one)
    assert gap(left.weights(f"also_{strategy}_0"), one) < ROUNDING
    assert gap({name: one[name] for name in alone}, alone) > 3e-3


@pytest.mark.parametrize("name", [*Strategy, "from_one", "trainer"])
def test_all_ranks_end_with_the_same_model(left, name):
    assert gap(left.weights(f"{name}_0"), left.weights(f"{name}_1")) == 0


@pytest.mark.parametrize("strategy", Strategy)
def test_one_process_goes_on_from_the_checkpoint_of_two(left, strategy):
    found = two_ranks.gone_on(two_ranks.begun(seed=9), left.folder / strategy)
    assert gap(weights(found), weights(left.one)) < ROUNDING


def test_two_processes_in_parts_go_on_from_the_checkpoint_of_one(left):
    assert gap(left.weights("from_one_0"), weights(left.one)) < ROUNDING


def test_two_processes_that_go_on_are_those_that_never_stopped(left):
    assert [(left.folder / f"same_{rank}").read_text() for rank in (0, 1)] == ["True", "True"]


def test_the_trainer_joins_the_processes_it_is_started_in(left):
    model, progress = two_ranks.trained()
    assert gap(left.weights("trainer_0"), model.state_dict()) < ROUNDING
    assert progress.next_epoch == two_ranks.PLAIN.epochs


def test_threads_are_divided_among_ranks(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [threads_each(processes) for processes in (1, 3, 16)] == [8, 2, 1]
