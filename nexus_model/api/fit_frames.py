"""From frames to a trained model in one call: describe, align, tokenize, train, pack.

Static tasks only: the label is a column of the entity table. A task in time has labels that an SQL
model gives, and splits by date: that is the pipeline's work.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from nexus_model.align.assemble import build_aligned, closed_database, load_frames
from nexus_model.align.index import read_samples
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, RawColumn, RawTable, Recipe
from nexus_model.align.relate import quoted
from nexus_model.align.samples import EntitySplit, Split, static_samples_select
from nexus_model.api.infer_columns import described, sql_type
from nexus_model.apply import predict_samples
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.config import NexusConfig
from nexus_model.evaluate.metrics import score
from nexus_model.explain.attention_flow import attention_flow
from nexus_model.model import NexusFormer
from nexus_model.schema import (
    ConfigurationError,
    DatabaseSpec,
    DataError,
    Record,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_model.sentences.find_reader import find_place, open_reader
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.prepare import fit_tokenizer, index_paths, task_tensors
from nexus_model.tokenize.sentences import SentenceReader
from nexus_model.tokenize.statistics import NumericalScaling, Tokenizer
from nexus_model.train.config import TrainingConfig
from nexus_model.train.loader import Goal, NexusLoader
from nexus_model.train.trainer import NexusFlowTrainer

FLOW = "attention_flow"
FLOW_SAMPLES = 256


class Preparation(Record):
    """Which rows a sample sees, how numbers are scaled, and which entities are held out."""

    max_depth: int = Field(2, ge=1, le=4, description="foreign keys crossed from the entity")
    max_rows: int = Field(32, gt=0, description="newest rows per sample and path")
    scaling: NumericalScaling = NumericalScaling.STANDARD
    split: EntitySplit = EntitySplit(validation_size=0.2, test_size=0.0, seed=0)
    text_model: str | None = Field(
        None, description="folder of the sentence model that reads texts; sub-words if unset"
    )


class Prepared(NamedTuple):
    """A tokenized task in memory; the recipe makes the same tensors of new frames.

    ``reader`` is the sentence model that read its texts, if one did.
    """

    recipe: Recipe
    tokenizer: Tokenizer
    tensors: TaskTensors
    split_B: np.ndarray
    reader: SentenceReader | None = None

    def samples(self, split: Split) -> np.ndarray:
        """Sample numbers of a split."""
        return np.flatnonzero(self.split_B == split)

    def goal(self) -> Goal:
        """What to learn: validation loss decides, so less is better."""
        return Goal(task=self.recipe.task, scale=self.tokenizer.label, higher_is_better=False)

    def loader(self, split: Split, config: NexusConfig, training: TrainingConfig) -> NexusLoader:
        """Batches of a split; shuffled if it is trained on."""
        return NexusLoader(
            self.tensors,
            self.samples(split),
            training.batch_size,
            split is Split.TRAIN,
            goal=self.goal(),
            model=config,
            seed=training.seed,
        )


def prepare(
    frames: Mapping[str, pa.Table],
    tables: Sequence[TableSpec],
    task: TaskSpec,
    preparation: Preparation,
) -> Prepared:
    """Align and tokenize; statistics come from what training samples see.

    ``task.classes`` are filled in from the labels if empty.

    Raises:
        ConfigurationError: the task has no target column, or is one in time, or the sentence model
            cannot be opened.
        DataError: a table or column is missing, or a binary label has not two values.
    """
    if task.target_column is None or task.horizon_days is not None:
        raise ConfigurationError(f"task {task.name}: give a target_column and no horizon_days")
    recipe = _recipe(frames, tables, task, preparation)
    con = closed_database()
    try:
        load_frames(con, _with_label(recipe, frames), frames)
        recipe = recipe.model_copy(update={"task": _with_classes(con, task)})
        build_aligned(con, recipe, None)
        select = static_samples_select(recipe.task, recipe.entity, preparation.split)
        con.execute(f"create table aligned.samples as {select}")
        found = con.sql("select label, split from aligned.samples order by sample").fetchall()
        label_B = np.array([row[0] for row in found], np.float64)
        split_B = np.array([row[1] for row in found], str)
        times = read_samples(con, "aligned.samples")
        indexes = index_paths(con, recipe, times)
        reader = _text_reader(recipe.database, preparation.text_model)
        readers = {} if reader is None else dict.fromkeys(recipe.database.names, reader)
        train_B, scaling = split_B == Split.TRAIN, preparation.scaling
        tokenizer = fit_tokenizer(con, recipe, times, indexes, label_B, train_B, scaling, readers)
        tensors = task_tensors(con, recipe, tokenizer, times, indexes, label_B, readers)
    finally:
        con.close()
    return Prepared(recipe, tokenizer, tensors, split_B, reader)


def _text_reader(database: DatabaseSpec, text_model: str | None) -> SentenceReader | None:
    """The sentence model that is asked for, if there is a text to read."""
    texts = any(table.columns_of(SemanticType.TEXT) for table in database.tables)
    place = find_place(text_model) if text_model is not None and texts else None
    return None if place is None else open_reader(place)


def fit_frames(
    prepared: Prepared,
    config: NexusConfig,
    training: TrainingConfig,
) -> NexusFlowModelArtifact:
    """Train on the training samples; the epoch with the least validation loss is kept.

    The artifact's metrics hold the scores and the attention flow of validation samples.

    Raises:
        TrainingError: a split is empty, or a loss is not finite.
    """
    recipe, tokenizer, tensors = prepared.recipe, prepared.tokenizer, prepared.tensors
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = NexusFormer(config, tokenizer, recipe.paths, recipe.task)
    trainer = NexusFlowTrainer(
        model,
        training,
        patience=training.patience,
        convergence_threshold=training.convergence_threshold,
    )
    train, validation = (
        prepared.loader(split, config, training) for split in (Split.TRAIN, Split.VALIDATION)
    )
    trainer.train(train, validation)
    held_B, task = prepared.samples(Split.VALIDATION), recipe.task
    predicted = predict_samples(model, tensors, held_B, task, tokenizer.label)
    metrics = {
        FLOW: attention_flow(model, tensors, held_B[:FLOW_SAMPLES]).model_dump(mode="json"),
        "validation": score(task, predicted, tensors.label_B[held_B]),
    }
    return NexusFlowModelArtifact(recipe, tokenizer, config, model.state_dict(), metrics=metrics)


def _recipe(
    frames: Mapping[str, pa.Table],
    tables: Sequence[TableSpec],
    task: TaskSpec,
    preparation: Preparation,
) -> Recipe:
    missing = [table.name for table in tables if table.name not in frames]
    if missing:
        raise DataError("table was not given", table=missing[0])
    database = DatabaseSpec(
        tables=tuple(
            described(
                table,
                frames[table.name],
                task.target_column if table.name == task.entity_table else None,
            )
            for table in tables
        )
    )
    paths = find_paths(database, task.entity_table, preparation.max_depth)
    return Recipe(
        raw=tuple(_raw(table, frames[table.name]) for table in database.tables),
        database=database,
        task=task,
        plans=tuple(PathPlan(path=path, max_rows=preparation.max_rows) for path in paths),
    )


def _raw(table: TableSpec, frame: pa.Table) -> RawTable:
    times = {table.time_column, *table.columns_of(SemanticType.TIMESTAMP)}
    used = [*table.key_columns, table.time_column, *(column.name for column in table.columns)]
    names = [name for name in dict.fromkeys(used) if name is not None]
    return RawTable(
        name=table.name,
        columns=tuple(
            RawColumn(
                name=name, type=sql_type(frame.schema.field(name).type, is_time=name in times)
            )
            for name in names
        ),
    )


def _with_label(recipe: Recipe, frames: Mapping[str, pa.Table]) -> Recipe:
    """The recipe as training reads frames; predicting needs no label."""
    task = recipe.task
    entity, target = frames[task.entity_table], task.target_column or ""
    if target not in entity.column_names:
        raise DataError("column is missing", table=task.entity_table, column=target)
    label = RawColumn(name=target, type=sql_type(entity.schema.field(target).type))
    raw = tuple(
        table.model_copy(update={"columns": (*table.columns, label)})
        if table.name == task.entity_table
        else table
        for table in recipe.raw
    )
    return recipe.model_copy(update={"raw": raw})


def _with_classes(con: duckdb.DuckDBPyConnection, task: TaskSpec) -> TaskSpec:
    if task.kind.is_number:
        return task
    target = quoted(task.target_column or "")
    found = con.sql(
        f"select distinct cast({target} as varchar) as value "
        f"from validated.{quoted(task.entity_table)} where {target} is not null order by value"
    ).fetchall()
    classes = task.classes or tuple(row[0] for row in found)
    if task.kind is TaskKind.BINARY and len(classes) != 2:
        raise DataError(
            f"a binary label has two values, not {list(classes)}",
            table=task.entity_table,
            column=task.target_column,
        )
    return task.model_copy(update={"classes": classes})
