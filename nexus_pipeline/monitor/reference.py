"""The reference: a bounded memory of the data a champion was made from, kept beside the model.

It is made once per champion and kept by the hash of its artifact, so that a rollback finds its own.
It must be made while the tables are still those of the champion: with the section ``monitoring`` in
the project file that is in the run that trains; else at the first ``nexusflow monitor``, before any
table is read anew. If the tables have changed by then, a task in time is compared with what today's
tables say of the champion's time, and one without time is not compared at all; the page says so.
"""

import datetime as dt
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from nexus_model.align.recipe import Recipe
from nexus_model.align.samples import Split
from nexus_model.evaluate.bootstrap import Interval, interval
from nexus_model.evaluate.metrics import primary_metric
from nexus_model.schema import Record
from nexus_pipeline.monitor.novelty import Vectors
from nexus_pipeline.monitor.observed import (
    Observed,
    Said,
    all_labels,
    as_labels,
    as_predictions,
    closed_labels,
    drawn_rows,
    key_sql,
    vectors_of,
)
from nexus_pipeline.monitor.windows import Span, TableRows, as_array, read_rows
from nexus_pipeline.project import ProjectConfig, monitoring_of
from nexus_pipeline.settings.monitoring import MonitoringConfig
from nexus_pipeline.steps.align import folder_hash
from nexus_pipeline.steps.champion import champion_of, model_name
from nexus_pipeline.steps.evaluation import read_evaluation
from nexus_pipeline.steps.records import Records, fingerprint
from nexus_pipeline.steps.registry import fetch_artifact
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.text_model import text_model_place
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_labels, read_splits
from nexus_pipeline.steps.train_task import THREADS
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.serve.predictor import Predictor

FACTS, VECTORS = "reference.json", "vectors.npy"
MOST_VECTORS = 1_000


class TableFacts(Record):
    """Rows of a table in the span of the reference, and on each of its days."""

    rows: int
    daily: tuple[int, ...]


class ReferenceFacts(Record):
    """What the files beside it are. ``made_with_champion`` is False if tables had changed."""

    version: int = 1
    champion: str
    artifact_sha256: str
    made_with_champion: bool
    end: dt.datetime | None
    days: int
    most_rows: int
    tables: dict[str, TableFacts]
    expected: Interval | None = None
    keys: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """In words."""
        if self.end is None:
            return f"all rows the champion (version {self.champion}) was made from"
        source = "" if self.made_with_champion else ", as today's tables tell them"
        return (
            f"the {self.days} days before {self.end:%Y-%m-%d}, "
            f"when the training of the champion (version {self.champion}) ended{source}"
        )


class Reference(NamedTuple):
    """The facts and what was seen."""

    facts: ReferenceFacts
    observed: Observed


class Champion(NamedTuple):
    """The model that serves."""

    version: str
    artifact_sha256: str
    predictor: "Predictor"


def load_champion(project: ProjectConfig, task: str, uri: str) -> Champion | None:
    """The champion's model from the registry; None while nobody is champion."""
    import torch
    from mlflow import MlflowClient

    from nexus_model.serve.predictor import load_model

    torch.set_num_threads(THREADS)
    name = model_name(project, task)
    found = champion_of(MlflowClient(tracking_uri=uri), name)
    if found is None:
        return None
    version = str(found.version)
    with tempfile.TemporaryDirectory(prefix="nexus-monitor-") as place:
        fetched = fetch_artifact(name, version, uri, Path(place))
        predictor = load_model(fetched, text_model=text_model_place(project))
    return Champion(version, found.tags["artifact_sha256"], predictor)


def reference_folder(project: ProjectConfig, task: str, artifact_sha256: str) -> Path:
    """Where the reference of an artifact is."""
    return project.stage_folder("served", task, "references", artifact_sha256[:16])


def ensure_reference(
    project: ProjectConfig, task: str, store: Store, champion: Champion
) -> Reference | None:
    """The champion's reference, made now if there is none; None where it cannot be made any more.

    One that was made with other bounds on days and rows is used as it is.
    """
    folder = reference_folder(project, task, champion.artifact_sha256)
    if (folder / FACTS).is_file():
        return open_reference(folder)
    is_same = _tables_are_the_champions(project, task, champion)
    recipe = champion.predictor.artifact.recipe
    if not is_same and recipe.grid is None:
        return None
    reference = _seen(project, recipe, store, champion, is_same=is_same)
    _write(folder, reference)
    return reference


def _tables_are_the_champions(project: ProjectConfig, task: str, champion: Champion) -> bool:
    """Whether the tables, tensors and evaluation here are still those of the champion."""
    evaluation = read_evaluation(project, task)
    records = Records(project.stage_folder("records"))
    raw = records.versions(f"{project.project_name}/raw/{d.table}" for d in project.datasets)
    same_model = evaluation.artifact_sha256 == champion.artifact_sha256
    return same_model and evaluation.data_fingerprint == fingerprint("raw", {}, raw)


def _seen(
    project: ProjectConfig, recipe: Recipe, store: Store, champion: Champion, *, is_same: bool
) -> Reference:
    config, span = monitoring_of(project), None
    if recipe.grid is not None:
        known = recipe.grid.test_from if project.training.refit else recipe.grid.validation_from
        span = Span.before(known, config.reference_days)
    with store.read() as con:
        tables = read_rows(con, recipe, span, config.most_rows)
        if recipe.grid is not None:
            until = recipe.grid.validation_from
            found = closed_labels(con, recipe, Span.before(until, config.reference_days)[0], until)
        else:
            found = all_labels(con, recipe)
    facts = ReferenceFacts(
        champion=champion.version,
        artifact_sha256=champion.artifact_sha256,
        made_with_champion=is_same,
        end=None if span is None else span.end,
        days=0 if span is None else span.days,
        most_rows=config.most_rows,
        tables={
            name: TableFacts(rows=table.rows, daily=table.daily) for name, table in tables.items()
        },
    )
    observed = Observed(tables, labels=as_labels(recipe.task, found))
    if recipe.grid is None:
        facts = facts.model_copy(update={"keys": tuple(found["key"].to_pylist())})
    if not is_same:
        return Reference(facts, observed)
    predictions, expected = _tested(project, recipe, store, champion)
    vectors = _training_vectors(project, recipe, store, champion)
    return Reference(
        facts.model_copy(update={"expected": expected}),
        observed._replace(predictions=predictions, vectors=vectors),
    )


def _tested(
    project: ProjectConfig, recipe: Recipe, store: Store, champion: Champion
) -> tuple[Said, Interval]:
    """The champion's predictions of test samples, which it has not learned from, and the metric.

    Not of validation samples: weights are trained again on those, and other weights judged them.
    """
    from nexus_model.apply import predict_samples

    task = recipe.task
    tensors, tokenizer = open_tensors_of(project, task.name)
    splits, label_B = read_splits(task.name, store), read_labels(task.name, store)
    asked_B = splits[Split.TEST]
    found = predict_samples(champion.predictor.model, tensors, asked_B, task, tokenizer.label)
    metric = interval(primary_metric(task), found, label_B[asked_B], splits.clusters_B[asked_B])
    moments = None if recipe.grid is None else tensors.times.cutoff_B[asked_B].astype(str)
    return Said(as_predictions(task, found), moments), metric


def _training_vectors(
    project: ProjectConfig, recipe: Recipe, store: Store, champion: Champion
) -> Vectors:
    """Vectors of at most so many training samples."""
    tensors, _ = open_tensors_of(project, recipe.task.name)
    train_B = read_splits(recipe.task.name, store)[Split.TRAIN]
    chosen_B = train_B[drawn_rows(len(train_B), MOST_VECTORS)]
    entity = f'aligned."{recipe.entity.name}"'
    with store.read() as con:
        rows = con.sql(f"select {key_sql(recipe)} as key from {entity} order by _row").fetchall()
    keys = tuple(rows[row][0] for row in tensors.times.entity_B[chosen_B].tolist())
    return vectors_of(champion.predictor.model, tensors, chosen_B, keys)


def _write(folder: Path, reference: Reference) -> None:
    """All files at once, or none."""
    facts, seen = reference
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".reference-", dir=folder.parent))
    try:
        (partial / "tables").mkdir()
        for name, table in seen.tables.items():
            parquet.write_table(table.sample, partial / "tables" / f"{name}.parquet")
        for name, values in (("predictions", seen.predictions), ("labels", seen.labels)):
            if values is not None:
                parquet.write_table(_as_table(values), partial / f"{name}.parquet")
        if seen.vectors is not None:
            np.save(partial / VECTORS, seen.vectors.states_ND, allow_pickle=False)
            keys = pa.table({"key": list(seen.vectors.keys)})
            parquet.write_table(keys, partial / "keys.parquet")
        (partial / FACTS).write_text(facts.model_dump_json(indent=1), encoding="utf-8")
        partial.chmod(0o755)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def open_reference(folder: Path) -> Reference:
    """The reference that was written."""
    facts = ReferenceFacts.model_validate_json((folder / FACTS).read_text("utf-8"))
    tables = {
        name: TableRows(
            parquet.read_table(folder / "tables" / f"{name}.parquet"), about.rows, about.daily
        )
        for name, about in facts.tables.items()
    }
    values = {
        name: _as_said(parquet.read_table(folder / f"{name}.parquet"))
        for name in ("predictions", "labels")
        if (folder / f"{name}.parquet").is_file()
    }
    vectors = None
    if (folder / VECTORS).is_file():
        keys = parquet.read_table(folder / "keys.parquet")["key"].to_pylist()
        vectors = Vectors(np.load(folder / VECTORS, allow_pickle=False), tuple(keys))
    return Reference(
        facts, Observed(tables, values.get("predictions"), values.get("labels"), vectors)
    )


def _as_table(said: Said) -> pa.Table:
    table = pa.table({"value": said.values.tolist()})
    if said.moments is None:
        return table
    return table.append_column("moment", pa.array(said.moments.tolist()))


def _as_said(table: pa.Table) -> Said:
    moments = np.array(table["moment"].to_pylist()) if "moment" in table.column_names else None
    return Said(as_array(table["value"]), moments)


def reference_task(project: ProjectConfig, task: str, store: Store, uri: str) -> Stored:
    """The champion's reference as an asset; without a champion, or too late, it says so."""
    champion = load_champion(project, task, uri)
    reference = None if champion is None else ensure_reference(project, task, store, champion)
    if champion is None or reference is None:
        told = "no champion" if champion is None else "made too late: the tables have changed"
        folder = project.stage_folder("served", task, "references")
        folder.mkdir(parents=True, exist_ok=True)
        location = relative(folder, project.root)
        return Stored(location=location, sha256=fingerprint(told, {}, {}), rows=0,
                      facts={"no_reference": told})  # fmt: skip
    folder = reference_folder(project, task, champion.artifact_sha256)
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=sum(table.sample.num_rows for table in reference.observed.tables.values()),
        facts={"champion": champion.version, "reference": reference.facts.told},
    )


def reference_config(config: MonitoringConfig) -> dict[str, int]:
    """The part of the settings a reference depends on."""
    return {"reference_days": config.reference_days, "most_rows": config.most_rows}
