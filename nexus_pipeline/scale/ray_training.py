"""A task's training on a worker of a Ray cluster: the same files as if it had been made here.

Workers share the project's file system: inputs are read where they lie, and the model's folder,
checkpoints included, is written where it would have been, so a training whose worker is lost goes
on from its last epoch. That both sides see the same folder is looked at before the training, by
digests of what it reads, and after it, by those of what it wrote.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nexus_model.schema import ConfigurationError, Record, TrainingError
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.scale.ray_cluster import Needs, on_ray, ray_cluster
from nexus_pipeline.steps.csv_text import file_digest
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.storage import Store

CODE = ("nexus_model", "nexus_pipeline/steps")


class Work(Record):
    """One training as text: a worker needs nothing else, but the files it names."""

    project: ProjectConfig
    root: Path
    task: str
    fingerprint: str
    database: Path
    limits: dict[str, str]
    log: Path
    code: str
    inputs: dict[str, str]


class Trained(NamedTuple):
    """What a training stored, its files' digests, and the node it ran on."""

    stored: Stored
    files: dict[str, str]
    node: str


def train_task_on_ray(
    project: ProjectConfig, task: str, store: Store, fingerprint: str, progress: ProgressLog
) -> Stored:
    """As ``train_task``, on a worker of the cluster of ``engines.ray_address``.

    Raises:
        ConfigurationError: Ray is missing, nobody answers, there is no room, or the worker has
            other code or other files.
        TrainingError: the training failed, or what it wrote is not to be seen from here.
    """
    (trained,) = train_on_ray(
        [work_of(project, task, store, fingerprint, progress)], project.engines.ray_address
    )
    progress.line(f"trained/{task}: by node {trained.node[:8]} of the Ray cluster")
    return trained.stored


def work_of(
    project: ProjectConfig, task: str, store: Store, fingerprint: str, progress: ProgressLog
) -> Work:
    """A training that a worker can do."""
    from nexus_pipeline.steps.records import code_version

    return Work(
        project=project,
        root=project.root.absolute(),
        task=task,
        fingerprint=fingerprint,
        database=store.path.absolute(),
        limits={key: value for key, value in store.limits.items() if key != "temp_directory"},
        log=progress.file.absolute(),
        code=code_version(*CODE),
        inputs=_inputs(project, task),
    )


def train_on_ray(works: Sequence[Work], address: str | None) -> list[Trained]:
    """All trainings, as many at once as the cluster has room for; in their order.

    Each takes a CPU for each of its ``training.devices``, and a GPU each if the cluster has any.
    """
    texts = [(work.model_dump_json(exclude_unset=True),) for work in works]
    with ray_cluster(address) as ray:
        devices = max(work.project.training.devices for work in works)
        gpus = devices if ray.cluster_resources().get("GPU") else 0
        outcomes = on_ray(ray, train_here, texts, Needs(devices, gpus))
    found = []
    for work, outcome in zip(works, outcomes, strict=True):
        text, files = outcome.value
        trained = Trained(Stored.model_validate_json(text), files, outcome.node)
        _assert_seen(work, trained)
        found.append(trained)
    return found


def train_here(text: str) -> tuple[str, dict[str, str]]:
    """What a worker does: train, and tell what was stored and the digests of its files."""
    from nexus_pipeline.steps.records import code_version
    from nexus_pipeline.steps.train_task import train_task

    work = Work.model_validate_json(text)
    project = work.project.model_copy(update={"root": work.root})
    if code_version(*CODE) != work.code:
        raise ConfigurationError("the Ray worker has another version of NexusFlow installed")
    if _inputs(project, work.task) != work.inputs:
        raise ConfigurationError(
            f"the Ray worker does not see the files of {work.root}, or others: workers and the "
            "process that asks must share the project's folder"
        )
    threads = work.limits.get("threads")
    store = Store(
        work.database,
        threads=int(threads) if threads else None,
        memory_limit=work.limits.get("memory_limit"),
    )
    stored = train_task(project, work.task, store, work.fingerprint, ProgressLog(work.log))
    return stored.model_dump_json(), _digests(work.root / stored.location)


def _inputs(project: ProjectConfig, task: str) -> dict[str, str]:
    """Digests of two small files that tell this project's stages from another's."""
    files = {
        "recipe.json": project.stage_folder("aligned", task) / "recipe.json",
        "tokenizer.json": project.stage_folder("tokenized", task) / "tokenizer.json",
    }
    return {name: file_digest(file) for name, file in files.items() if file.is_file()}


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _assert_seen(work: Work, trained: Trained) -> None:
    folder = work.root / trained.stored.location
    if _digests(folder) != trained.files:
        raise TrainingError(
            f"task {work.task}: what node {trained.node[:8]} wrote to {folder} is not what lies "
            "there: workers and the process that asks must share the project's folder"
        )
