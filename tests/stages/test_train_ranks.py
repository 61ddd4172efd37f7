"""A task's training in two processes: what one gives, also after one of the two was killed."""

import json
import threading
import time

import numpy as np
import psutil
import pytest
from safetensors.torch import load_file

from benchmarks.shapes.journey import tokenized
from nexus_model.schema import TrainingError
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import load_project
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.train_task import FINAL, judged_predictions, model_folder, train_task
from nexus_pipeline.storage import Store

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
# Neither dropout nor categories, some of which are hidden while training: nothing is drawn.
SAID = """\
project_name: shop
target: {target_table: customers, target_column: churned}
datasets:
  - {name: customers.csv, primary_key: customer_id, ignore_columns: region}
  - name: orders.csv
    primary_key: order_id
    time_column: placed_at
    foreign_keys: [{columns: customer_id, references_table: customers}]
training:
  epochs: 12
  patience: 12
  batch_size: 16
  optimizer: {name: sgd, schedule: constant, warmup_steps: 2}
architecture: {global_embed_dim: 16, heads: 2, refinement_iterations: 1, dropout: 0.0}
"""


def ranks_of_this_process():
    """The processes of the training below this one, by rank."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        try:
            if "nexus_pipeline.steps.train_rank" in child.cmdline():
                found[child.environ().get("RANK", "agent")] = child
        except psutil.Error:
            continue
    return found


def kill_a_rank_after(checkpoints, killed):
    """Kill rank 1 as soon as an epoch has been kept."""
    while not list(checkpoints.glob("*.safetensors")):
        time.sleep(0.01)
    ranks = ranks_of_this_process()
    ranks["1"].kill()
    killed.extend(ranks.values())


class Trained:
    """What a training left: files, facts, weights, validation predictions, epochs, its log."""

    def __init__(self, project, stored, log):
        folder = model_folder(project, "churned")
        self.files = {path.name for path in folder.iterdir()}
        self.facts, self.location = stored.facts, stored.location
        self.weights = load_file(folder / FINAL)
        self.prediction = judged_predictions(project, "churned")
        self.curve = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
        self.log = log.read_text(encoding="utf-8")
        self.left = sorted(p.name for p in folder.parent.rglob("*") if "model" not in p.parts)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Trained by one process, then by two: the first time one is killed, the second time not."""
    folder = create_project(tmp_path_factory.mktemp("ranks"), "shop")
    write_shop(folder / "data/raw/shop", 150)
    (folder / "nexusflow.yaml").write_text(SAID, encoding="utf-8")
    project, store = load_project(folder / "nexusflow.yaml"), Store(folder / "s.duckdb", threads=1)
    tokenized(project, store)

    def train(devices):
        training = project.training.model_copy(update={"devices": devices})
        chosen, log = project.model_copy(update={"training": training}), folder / f"{devices}.txt"
        stored = train_task(chosen, "churned", store, "0" * 16, ProgressLog(log))
        return Trained(chosen, stored, log)

    one, killed = train(1), []
    checkpoints = project.stage_folder("trained", "churned", "checkpoint")
    killer = threading.Thread(target=kill_a_rank_after, args=(checkpoints, killed), daemon=True)
    killer.start()
    with pytest.raises(TrainingError) as failure:
        train(2)
    alive = [process for process in killed if process.is_running()]
    return one, str(failure.value), (killed, alive), train(2)


def test_two_processes_give_the_model_of_one(shop):
    one, _, _, two = shop
    assert [epoch["loss"] for epoch in two.curve] == pytest.approx(
        [epoch["loss"] for epoch in one.curve], abs=1e-4
    )
    np.testing.assert_allclose(two.prediction, one.prediction, atol=1e-4)
    assert all(two.weights[name].allclose(one.weights[name], atol=1e-4) for name in one.weights)


def test_what_is_left_is_what_one_process_leaves(shop):
    one, _, _, two = shop
    assert (two.files, two.location, two.left) == (one.files, one.location, one.left)
    assert two.facts == pytest.approx(one.facts, abs=0.002)


def test_a_killed_rank_is_named_with_what_to_do(shop):
    _, told, _, _ = shop
    assert told.startswith("task churned: rank 1 was ended by SIGKILL")
    assert told.endswith("the same command goes on from the last epoch that was kept")


def test_a_killed_rank_leaves_no_other_behind(shop):
    _, _, (killed, alive), _ = shop
    assert len(killed) == 3  # torchrun and two ranks
    assert alive == []


def test_the_next_run_goes_on_and_tells_each_epoch_once(shop):
    _, _, _, two = shop
    assert "trained/churned: resumed at epoch" in two.log
    told = [line for line in two.log.splitlines() if "validation" in line]
    assert len(told) == len({line.split("epoch ")[1].split("/")[0] for line in told}) == 12
