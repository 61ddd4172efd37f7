"""Served: the ``.nxf`` as a version of the registered MLflow model, aliased challenger."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nexus_model.schema import Record, TaskKind, TaskSpec
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.champion import AUDIT_HEAD, CHALLENGER, CHAMPION, model_name
from nexus_pipeline.steps.evaluation import MODEL, read_evaluation
from nexus_pipeline.steps.noting import Note
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
from nexus_pipeline.steps.predict_batch import latest_moment
from nexus_pipeline.steps.serve_task import raw_frames, written
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.steps.text_model import text_model_said
from nexus_pipeline.storage import Store
from nexus_pipeline.tracking import tracking_at

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EXAMPLE_ROWS = 3


class Registration(Record):
    """A registered version and the artifact it serves."""

    name: str
    version: str
    artifact_sha256: str
    parent_version: str = ""


class Registering(NamedTuple):
    """Where a version is registered: the MLflow run, the server, the tags, and who is told."""

    run_id: str
    uri: str
    tags: Mapping[str, str]
    note: Note


def register_task(project: ProjectConfig, task: str, store: Store, at: Registering) -> Stored:
    """Log the ``.nxf`` as a pyfunc under the run, register it, and alias it challenger.

    It is noted before, so that there is no version the audit trail does not know, and after, with
    its number; the version keeps where the trail stood then.
    """
    import mlflow
    from mlflow import MlflowClient

    evaluation = read_evaluation(project, task)
    recipe, frames = read_recipe(project, task), raw_frames(project, task, store)
    name, client = model_name(project, task), MlflowClient(tracking_uri=at.uri)
    about = _version_tags(project, task)
    at.note("registering", {"model": name, **about})
    moment = latest_moment(recipe, store)
    cutoff = {"cutoff": "" if moment is None else moment.isoformat()}
    with (
        tracking_at(at.uri),
        mlflow.start_run(run_id=at.run_id),
        _without_hints(),
        # MLflow loads what it logs, to try the example.
        text_model_said(project),
    ):
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(Path(__file__).parents[1] / "served_model.py"),
            artifacts={"nxf": str(artifact_folder(project, task) / FULL)},
            signature=signature(recipe.task, recipe.entity.primary_key, frames),
            input_example=(input_example(frames), cutoff),
            pip_requirements=["nexusflow"],
            registered_model_name=name,
        )
        mlflow.log_metrics(_version_metrics(project, task))
    # A run that logs a model is ended by its context; the tracker ends it again, later.
    version = str(logged.registered_model_version)
    parent = str(client.get_registered_model(name).aliases.get(CHAMPION) or "")
    stands = at.note(
        "registered", {"model": name, "version": version, "parent_version": parent, **about}
    )
    own = {**at.tags, **about, "parent_version": parent, AUDIT_HEAD: stands}
    for key, value in own.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, CHALLENGER, version)
    registration = Registration(
        name=name,
        version=version,
        artifact_sha256=evaluation.artifact_sha256,
        parent_version=parent,
    )
    return written(project, task, "registration", registration)


def read_registration(project: ProjectConfig, task: str) -> Registration:
    """What was registered last."""
    path = project.stage_folder("served", task) / "registration.json"
    return Registration.model_validate_json(path.read_text(encoding="utf-8"))


@contextmanager
def _without_hints() -> Iterator[None]:
    """MLflow would rather read the signature off type hints; ours is given."""
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*type hints.*", category=UserWarning)
        yield


def _version_tags(project: ProjectConfig, task: str) -> dict[str, str]:
    evaluation = read_evaluation(project, task)
    return {
        "artifact_sha256": evaluation.artifact_sha256,
        "data_fingerprint": evaluation.data_fingerprint,
        "git_commit": evaluation.commit,
        "project": project.project_name,
        "task": task,
    }


def _version_metrics(project: ProjectConfig, task: str) -> dict[str, float]:
    evaluation = read_evaluation(project, task)
    return {
        f"{split}_{evaluation.metric}": evaluation.scores(split)[MODEL]
        for split in ("validation", "test")
    }


def input_example(frames: dict[str, "pa.Table"]) -> "pd.DataFrame":
    """A few rows of every table in the served model's input form."""
    import pandas as pd

    records = [
        {"table": name, "records": frame.slice(0, EXAMPLE_ROWS).to_pandas().to_json(
            orient="records", date_format="iso")}
        for name, frame in frames.items()
    ]  # fmt: skip
    return pd.DataFrame(records)


def signature(task: TaskSpec, keys: tuple[str, ...], frames: dict[str, "pa.Table"]) -> Any:
    """MLflow signature: tables in, keys and prediction out, the cutoff as parameter."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    text, number = DataType.string, DataType.double
    entity = frames[task.entity_table].schema
    outputs = [
        ColSpec(DataType.long if str(entity.field(key).type).startswith("int") else text, key)
        for key in keys
    ]
    outputs.append(ColSpec(text if task.kind is TaskKind.MULTICLASS else number, "prediction"))
    outputs += [ColSpec(number, name) for name in task.output_columns]
    parameters = [ParamSpec("cutoff", text, "")]
    return ModelSignature(
        inputs=Schema([ColSpec(text, "table"), ColSpec(text, "records")]),
        outputs=Schema(outputs),
        params=ParamSchema(parameters),
    )
