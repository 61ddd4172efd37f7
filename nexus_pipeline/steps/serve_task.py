"""Served: a registered model version, the gate that makes it champion, and batch predictions."""

import datetime as dt
import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_model.align.relate import quoted
from nexus_model.align.samples import Split
from nexus_model.evaluate.metrics import Direction, direction_of
from nexus_model.schema import DataError, Record, TaskSpec
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.evaluate_task import MODEL, read_evaluation
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CHALLENGER, CHAMPION = "challenger", "champion"
ENTITY_BASELINES = ("majority_or_mean", "entity_last", "entity_mean")
EXAMPLE_ROWS = 3


class Gate(Record):
    """May this version become champion, and why; decided on validation data only."""

    version: str
    artifact_sha256: str
    metric: str
    score: float
    rival: str
    rival_score: float
    passed: bool
    reason: str


class Promotion(Record):
    """What happened to the champion alias."""

    version: str
    champion_before: str | None
    champion_after: str | None
    reason: str


def model_name(project: ProjectConfig, task: str) -> str:
    """Name in the registry."""
    return f"{project.project_name}-{task}"


def raw_frames(project: ProjectConfig, task: str, store: Store) -> dict[str, "pa.Table"]:
    """The validated tables a prediction needs, as they are now."""
    recipe = read_recipe(project, task)
    with store.read() as con:
        return {
            table.name: con.sql(
                f"select {', '.join(quoted(column.name) for column in table.columns)} "
                f"from validated.{quoted(table.name)}"
            ).to_arrow_table()
            for table in recipe.raw
        }


def latest_moment(project: ProjectConfig, task: TaskSpec, store: Store) -> dt.datetime | None:
    """The moment to predict from: just after the newest row of the entity's own children."""
    if task.horizon_days is None:
        return None
    with store.read() as con:
        found = con.sql(
            f"select max(window_end) from aligned.{quoted('cutoffs_' + task.name)}"
        ).fetchall()
    moment: dt.datetime = found[0][0]
    return moment


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
    outputs.append(ColSpec(text if task.classes[2:] else number, "prediction"))
    parameters = [ParamSpec("cutoff", text, "")]
    return ModelSignature(
        inputs=Schema([ColSpec(text, "table"), ColSpec(text, "records")]),
        outputs=Schema(outputs),
        params=ParamSchema(parameters),
    )


class Registration(Record):
    """A registered version and the artifact it serves."""

    name: str
    version: str
    artifact_sha256: str


def register_task(
    project: ProjectConfig, task: str, store: Store, run_id: str, uri: str, tags: Mapping[str, str]
) -> Stored:
    """Log the ``.nxf`` as a pyfunc under the run, register it, and alias it challenger."""
    import mlflow
    from mlflow import MlflowClient

    evaluation = read_evaluation(project, task)
    recipe, frames = read_recipe(project, task), raw_frames(project, task, store)
    name, own = model_name(project, task), {**tags, **_version_tags(project, task)}
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    moment = latest_moment(project, recipe.task, store)
    cutoff = {"cutoff": "" if moment is None else moment.isoformat()}
    with mlflow.start_run(run_id=run_id), _without_hints():
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
    for key, value in own.items():
        client.set_model_version_tag(name, version, key, value)
    client.set_registered_model_alias(name, CHALLENGER, version)
    registration = Registration(
        name=name, version=version, artifact_sha256=evaluation.artifact_sha256
    )
    return _written(project, task, "registration", registration)


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


def _written(project: ProjectConfig, task: str, name: str, record: Record) -> Stored:
    folder = project.stage_folder("served", task)
    folder.mkdir(parents=True, exist_ok=True)
    content = record.model_dump_json(indent=1)
    (folder / f"{name}.json").write_text(content, encoding="utf-8")
    return Stored(
        location=relative(folder / f"{name}.json", project.root),
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        rows=1,
        facts={
            key: value
            for key, value in record.model_dump(mode="json").items()
            if isinstance(value, str | int | float | bool)
        },
    )


def read_promotion(project: ProjectConfig, task: str) -> "Promotion":
    """The last promotion decision of a task."""
    path = project.stage_folder("served", task) / "promotion.json"
    return Promotion.model_validate_json(path.read_text(encoding="utf-8"))


def open_gate(project: ProjectConfig, task: str, version: str, champion: Gate | None) -> Gate:
    """Decide on validation data: better than every per-entity baseline, not worse than the champion.

    Test results are never read here.
    """
    evaluation = read_evaluation(project, task)
    metric = evaluation.metric
    scores = evaluation.scores("validation")
    sign = 1 if direction_of(metric) is Direction.MAX else -1
    mine = scores[MODEL]
    rivals = {name: scores[name] for name in ENTITY_BASELINES if name in scores}
    rival = max(rivals, key=lambda name: sign * rivals[name])
    passed, reason = sign * mine > sign * rivals[rival], f"beats {rival} on validation"
    if not passed:
        reason = f"does not beat {rival} on validation"
    elif champion is not None and sign * mine < sign * champion.score:
        passed, reason = False, f"worse on validation than champion version {champion.version}"
    return Gate(
        version=version,
        artifact_sha256=evaluation.artifact_sha256,
        metric=metric,
        score=mine,
        rival=rival,
        rival_score=rivals[rival],
        passed=passed,
        reason=reason,
    )


def promote_task(project: ProjectConfig, task: str, uri: str) -> tuple[Stored, Promotion]:
    """Move the champion alias to the challenger if its own gate, read again here, is open."""
    from mlflow import MlflowClient

    client, name = MlflowClient(tracking_uri=uri), model_name(project, task)
    challenger = client.get_model_version_by_alias(name, CHALLENGER)
    champion = _champion(client, name)
    before = None if champion is None else str(champion.version)
    version = str(challenger.version)
    if before == version:
        promotion = Promotion(
            version=version, champion_before=before, champion_after=before, reason="is champion"
        )
        return _written(project, task, "promotion", promotion), promotion
    rival = None if champion is None else Gate.model_validate_json(champion.tags["gate"])
    gate = open_gate(project, task, version, rival)
    if challenger.tags.get("artifact_sha256") != gate.artifact_sha256:
        told = "the evaluation is of another artifact than the registered version"
        gate = gate.model_copy(update={"passed": False, "reason": told})
    client.set_model_version_tag(name, version, "gate", gate.model_dump_json())
    if gate.passed:
        client.set_registered_model_alias(name, CHAMPION, version)
    promotion = Promotion(
        version=version,
        champion_before=before,
        champion_after=version if gate.passed else before,
        reason=gate.reason,
    )
    return _written(project, task, "promotion", promotion), promotion


def _champion(client: Any, name: str) -> Any | None:
    aliases = client.get_registered_model(name).aliases
    return client.get_model_version_by_alias(name, CHAMPION) if CHAMPION in aliases else None


def champion_artifact(project: ProjectConfig, task: str, uri: str) -> Path:
    """The champion's ``.nxf`` file, fetched from the registry.

    Raises:
        DataError: no version has passed the gate yet.
    """
    import mlflow
    from mlflow import MlflowClient

    name = model_name(project, task)
    if _champion(MlflowClient(tracking_uri=uri), name) is None:
        reason = read_promotion(project, task).reason
        raise DataError(f"no version is champion yet: the challenger {reason}", table=name)
    mlflow.set_tracking_uri(uri)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}@{CHAMPION}"))
    return next(folder.rglob("*.nxf"))


def prediction_file(project: ProjectConfig, task: str) -> Path:
    """Where batch predictions are."""
    return project.stage_folder("served", task, "predictions") / "predictions.parquet"


def predict_batch(project: ProjectConfig, task: str, store: Store, uri: str) -> Stored:
    """Champion predictions for every entity at the latest moment, as Parquet."""
    import pyarrow.parquet as pq

    from nexus_model.serve.predictor import load_model

    predictor = load_model(champion_artifact(project, task, uri))
    moment = latest_moment(project, predictor.artifact.recipe.task, store)
    found = predictor.predict(raw_frames(project, task, store), cutoff=moment)
    path = prediction_file(project, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(found, path)
    cutoff = "" if moment is None else moment.isoformat()
    (path.parent / "about.json").write_text(json.dumps({"cutoff": cutoff}), encoding="utf-8")
    return Stored(
        location=relative(path, project.root),
        sha256=folder_hash(path.parent),
        rows=found.num_rows,
        facts={"cutoff": cutoff},
    )


def prediction_preview(project: ProjectConfig, task: str) -> str:
    """The first predictions as Markdown."""
    import polars as pl

    rows = pl.read_parquet(prediction_file(project, task)).head(5)
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + "---|" * len(rows.columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows.iter_rows()]
    return "\n".join(lines)


class ArtifactDifference(Record):
    """How far the artifact's predictions from raw tables are from the trained model's."""

    samples: int
    largest: float


def artifact_difference(project: ProjectConfig, task: str, store: Store) -> ArtifactDifference:
    """Predict the last validation cutoff's samples both ways: through tensors and from raw tables."""
    import numpy as np

    from nexus_model.apply import predict_samples
    from nexus_model.serve.predictor import load_model

    predictor = load_model(artifact_folder(project, task) / FULL)
    recipe, splits = read_recipe(project, task), read_splits(project, task, store)
    tensors, tokenizer = open_tensors_of(project, task)
    asked_B = splits[Split.VALIDATION]
    moment_B = tensors.times.cutoff_B[asked_B]
    chosen_B = asked_B[moment_B == moment_B.max()]
    expected = predict_samples(predictor.model, tensors, chosen_B, recipe.task, tokenizer.label)
    cutoff = None
    if recipe.task.horizon_days is not None:
        cutoff = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(moment_B.max()))
    found = predictor.predict_rows(raw_frames(project, task, store), cutoff)
    rows_B = tensors.times.entity_B[chosen_B]
    return ArtifactDifference(
        samples=len(chosen_B), largest=float(np.abs(found[rows_B] - expected).max())
    )
