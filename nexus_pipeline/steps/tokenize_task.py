"""Tokenized: every table as memory-mapped numbers, with statistics from training rows only."""

from pathlib import Path

import numpy as np

from nexus_model.align.relate import quoted
from nexus_model.align.samples import Split
from nexus_model.tokenize.also import write_also
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.prepare import (
    Labeled,
    open_index,
    open_task,
    write_fitted,
)
from nexus_model.tokenize.statistics import Tokenizer
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.also_task import also_facts, read_also
from nexus_pipeline.steps.stored import Stored, aligned_view, relative
from nexus_pipeline.steps.text_model import text_readers
from nexus_pipeline.storage import Store


class Splits:
    """Sample numbers by split; of every sample its cutoff as its cluster, and the moment its data
    is of.
    """

    def __init__(self, split_B: np.ndarray, clusters_B: np.ndarray, moments_B: np.ndarray) -> None:
        self.split_B, self.clusters_B, self.moments_B = split_B, clusters_B, moments_B

    def __getitem__(self, split: Split) -> np.ndarray:
        return np.flatnonzero(self.split_B == split.value)

    @property
    def before_test(self) -> np.ndarray:
        """Sample numbers to learn from once validation has chosen."""
        later_B = self[Split.REFIT]
        return np.concatenate(
            [self[Split.TRAIN], later_B if len(later_B) else self[Split.VALIDATION]]
        )


def read_splits(task: str, store: Store) -> Splits:
    """Splits and clusters; without cutoffs every sample is its own cluster."""
    with store.read() as con:
        found = con.sql(
            "select split, coalesce(epoch_us(cutoff), sample) as cluster, "
            "coalesce(epoch_us(as_of), sample) as moment "
            f"from aligned.{quoted('samples_' + task)} order by sample"
        ).to_arrow_table()
    clusters_B, moments_B = (found[name].to_numpy() for name in ("cluster", "moment"))
    return Splits(np.array(found["split"].to_pylist()), clusters_B, moments_B)


def read_labels(task: str, store: Store) -> np.ndarray:
    """Labels of all samples in order."""
    with store.read() as con:
        table = f"aligned.{quoted('samples_' + task)}"
        found = con.sql(f"select label from {table} order by sample").to_arrow_table()
    return np.asarray(found["label"].to_numpy(), dtype=np.float64)


def tokenize_task(project: ProjectConfig, task: str, store: Store) -> Stored:
    """Fit on what training samples see, encode everything, write ``data/tokenized/...``."""
    recipe = read_recipe(project, task)
    folder, splits = tensor_folder(project, task), read_splits(task, store)
    times, indexes = open_index(project.stage_folder("aligned", task), len(recipe.plans))
    train_B = splits.split_B == Split.TRAIN.value
    also = read_also(project, task, splits.split_B, store)
    samples = Labeled(times, read_labels(task, store), train_B)
    with aligned_view(store, recipe.database) as con:
        readers = text_readers(project, recipe.database)
        tokenizer = write_fitted(
            con, recipe, folder, samples, indexes, project.tokenization.numerical, readers
        )
        write_also(folder, also)
        rows = sum(
            int(con.sql(f"select count(*) from aligned.{quoted(name)}").fetchall()[0][0])
            for name in recipe.database.names
        )
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=rows,
        facts={
            "columns": sum(
                len(t.numerical) + len(t.categorical) + len(t.temporal) + len(t.text)
                for t in tokenizer.tables
            ),
            "megabytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6,
            **also_facts(also, splits.split_B),
        },
    )


def tensor_folder(project: ProjectConfig, task: str) -> Path:
    """Where a task's tensors are."""
    return project.stage_folder("tokenized", task)


def open_tensors_of(project: ProjectConfig, task: str) -> tuple[TaskTensors, Tokenizer]:
    """A task's memory-mapped tensors and tokenizer."""
    index = project.stage_folder("aligned", task)
    return open_task(tensor_folder(project, task), index, read_recipe(project, task))
