"""Served: the gate that makes a version champion, and what a served model is compared with."""

import datetime as dt
import hashlib
from typing import TYPE_CHECKING

from nexus_model.align.relate import quoted
from nexus_model.align.samples import Split
from nexus_model.schema import Record
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.champion import (
    CHALLENGER,
    GATE,
    Promotion,
    champion_of,
    model_name,
    move_champion,
)
from nexus_pipeline.steps.evaluation import read_evaluation
from nexus_pipeline.steps.gate import Gate, open_gate
from nexus_pipeline.steps.noting import Note
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.text_model import text_model_place
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    import pyarrow as pa


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


def written(project: ProjectConfig, task: str, name: str, record: Record) -> Stored:
    """Keep a record as JSON under ``data/served``."""
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


def promote_task(
    project: ProjectConfig, task: str, uri: str, note: Note
) -> tuple[Stored, Promotion]:
    """Move the champion alias to the challenger if its own gate, read again here, is open.

    The decision and the move are noted before they are done: what cannot be noted is not done.
    """
    from mlflow import MlflowClient

    client, name = MlflowClient(tracking_uri=uri), model_name(project, task)
    challenger = client.get_model_version_by_alias(name, CHALLENGER)
    champion = champion_of(client, name)
    before = None if champion is None else str(champion.version)
    version = str(challenger.version)
    if before == version:
        promotion = Promotion(
            version=version, champion_before=before, champion_after=before, reason="is champion"
        )
        return written(project, task, "promotion", promotion), promotion
    rival = None if champion is None else Gate.model_validate_json(champion.tags[GATE])
    gate = open_gate(read_evaluation(project, task), version, rival, project.gate)
    if challenger.tags.get("artifact_sha256") != gate.artifact_sha256:
        told = "the evaluation is of another artifact than the registered version"
        gate = gate.model_copy(update={"passed": False, "reason": told})
    decided = {"model": name, "decision": "open" if gate.passed else "closed"}
    note("gate", {**decided, **gate.model_dump(mode="json")})
    client.set_model_version_tag(name, version, GATE, gate.model_dump_json())
    if gate.passed:
        moved = {"version": version, "champion_before": before or "", "reason": gate.reason}
        moved |= {"decision": "promote", "artifact_sha256": gate.artifact_sha256}
        note("promoted", {"model": name, **moved})
        move_champion(client, name, version, before)
    promotion = Promotion(
        version=version,
        champion_before=before,
        champion_after=version if gate.passed else before,
        reason=gate.reason,
    )
    return written(project, task, "promotion", promotion), promotion


class ArtifactDifference(Record):
    """How far the artifact's predictions from raw tables are from the trained model's."""

    samples: int
    largest: float


def artifact_difference(project: ProjectConfig, task: str, store: Store) -> ArtifactDifference:
    """Predict the last validation cutoff's samples through tensors, and from raw tables."""
    import numpy as np

    from nexus_model.apply import predict_samples
    from nexus_model.serve.predictor import load_model

    file = artifact_folder(project, task) / FULL
    predictor = load_model(file, text_model=text_model_place(project))
    recipe, splits = read_recipe(project, task), read_splits(task, store)
    tensors, tokenizer = open_tensors_of(project, task)
    asked_B = splits[Split.VALIDATION]
    moment_B = tensors.times.cutoff_B[asked_B]
    chosen_B = asked_B[moment_B == moment_B.max()]
    rows_B = tensors.times.entity_B[chosen_B]
    expected = predict_samples(predictor.model, tensors, chosen_B, recipe.task, tokenizer.label)
    cutoff = as_of = None
    if recipe.task.horizon_days is not None:
        cutoff, as_of = (
            dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=int(times_B[chosen_B[0]]))
            for times_B in (tensors.times.cutoff_B, tensors.times.as_of_B)
        )
    found = predictor.predict_rows(raw_frames(project, task, store), cutoff, as_of, rows_B)
    return ArtifactDifference(
        samples=len(chosen_B), largest=float(np.abs(found[rows_B] - expected).max())
    )
