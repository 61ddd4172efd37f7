"""Trainings on the two workers of a Ray cluster: the very files a training here writes."""

import datetime as dt
import importlib.util

import pyarrow as pa
import pytest

from nexus_model.schema import ConfigurationError, TrainingError
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.scale.ray_cluster import Needs, on_ray, ray_cluster
from nexus_pipeline.scale.ray_training import train_on_ray, work_of
from nexus_pipeline.steps import train_task as steps_train_task
from nexus_pipeline.steps.align import (
    align_table,
    folder_hash,
    index_task,
    lay_samples,
    read_task,
    relate_tables,
)
from nexus_pipeline.steps.tokenize_task import tokenize_task
from nexus_pipeline.steps.train_task import model_folder, train_task
from nexus_pipeline.storage import Store
from tests.scale.shop import shop_project

if importlib.util.find_spec("ray") is None:
    pytest.skip("needs Ray: pip install 'nexusflow[ray]'", allow_module_level=True)

TASK, DAY = "left", dt.datetime(2020, 1, 1)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, as on two machines, and this process connected to them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        made = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        made.add_node(num_cpus=1)
        try:
            with ray_cluster(made.address) as ray:
                yield ray
        finally:
            made.shutdown()


def tokenized(root, seed):
    """A shop of twenty customers, ready to be trained on."""
    project = shop_project(
        root,
        TASK,
        architecture={"global_embed_dim": 16, "heads": 2},
        training={"epochs": 2, "batch_size": 8, "seed": seed},
    )
    root.mkdir(parents=True)
    store = Store(root / "shop.duckdb", threads=1)
    customers = {"id": [*range(40)], TASK: [row % 2 for row in range(40)]}
    orders = {"id": [*range(90)], "customer_id": [row % 37 for row in range(90)], "at": [DAY] * 90}
    for name, columns in {"customers": customers, "orders": orders}.items():
        store.replace(f"validated.{name}", pa.table(columns))
        align_table(project, name, None, store)
    relate_tables(project, store)
    task = read_task(project, TASK, store)
    lay_samples(project, task, store)
    index_task(project, task, (), {}, store)
    tokenize_task(project, TASK, store)
    return project, store, ProgressLog(root / "shop.log")


def as_work(made, **changed):
    project, store, log = made
    return work_of(project, TASK, store, "f" * 32, log).model_copy(update=changed)


def test_two_workers_write_what_a_training_here_writes(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(steps_train_task, "THREADS", 1)  # as the workers have it
    made = [tokenized(tmp_path / str(seed), seed) for seed in (1, 2)]
    found = train_on_ray([as_work(one) for one in made], None)
    assert found[0].node != found[1].node
    assert found[0].stored.sha256 != found[1].stored.sha256
    for (project, store, log), trained in zip(made, found, strict=True):
        assert folder_hash(model_folder(project, TASK)) == trained.stored.sha256
        here = train_task(project, TASK, store, "f" * 32, log)
        assert here == trained.stored


def test_a_worker_with_other_code_or_other_files_refuses(cluster, tmp_path):
    made = tokenized(tmp_path / "a", 1)
    with pytest.raises(ConfigurationError, match="another version of NexusFlow"):
        train_on_ray([as_work(made, code="0")], None)
    with pytest.raises(ConfigurationError, match="must share the project's folder"):
        train_on_ray([as_work(made, root=tmp_path)], None)


def test_an_error_of_ours_comes_back_as_one(cluster):
    with pytest.raises(TrainingError, match="loss is not finite"):
        on_ray(cluster, failing, [("loss is not finite",)], Needs())


def test_a_lost_worker_is_replaced_and_the_call_made_again(cluster, tmp_path):
    mark = tmp_path / "mark"
    outcome = on_ray(cluster, dying_once, [(str(mark),)], Needs())[0]
    assert outcome.value == "second"


def test_more_than_the_cluster_has_is_refused_at_once(cluster):
    with pytest.raises(ConfigurationError, match="needs 9 CPU; the Ray cluster has 2"):
        on_ray(cluster, failing, [("never called",)], Needs(cpus=9))


def failing(told):
    raise TrainingError(told)


def dying_once(mark):
    import os
    import signal
    from pathlib import Path

    if Path(mark).exists():
        return "second"
    Path(mark).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"
