"""A recipe's aligned tables -> tokenizer and task tensors; in memory, or as a folder of files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import duckdb
import numpy as np

from nexus_model.align.index import PathIndex, SampleTimes, index_path, times_of
from nexus_model.align.recipe import Recipe
from nexus_model.tokenize.also import open_also
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.fit import (
    encode_clock,
    encode_table,
    entity_stamps,
    feature_table,
    fit_entity_ages,
    fit_label,
    fit_table,
    parent_rows,
    visible_rows,
)
from nexus_model.tokenize.sentences import SentenceReader
from nexus_model.tokenize.statistics import NumericalScaling, TableTokenizer, Tokenizer
from nexus_model.tokenize.table_tensors import TableTensors, open_tensors, write_tensors

Connection: TypeAlias = duckdb.DuckDBPyConnection
Array = np.ndarray
# By table, what reads its texts.
Readers: TypeAlias = Mapping[str, SentenceReader]
NO_READERS: Readers = MappingProxyType({})


class Labeled(NamedTuple):
    """Samples with their labels, and which of them train."""

    times: SampleTimes
    label_B: Array
    train_B: Array


def index_paths(con: Connection, recipe: Recipe, times: SampleTimes) -> tuple[PathIndex, ...]:
    """The index of every path of the recipe."""
    return tuple(
        index_path(con, recipe.database, plan.path, times, plan.max_rows) for plan in recipe.plans
    )


def fit_tokenizer(
    con: Connection,
    recipe: Recipe,
    times: SampleTimes,
    indexes: Sequence[PathIndex],
    label_B: Array,
    train_B: Array,
    scaling: NumericalScaling = NumericalScaling.STANDARD,
    readers: Readers = NO_READERS,
) -> Tokenizer:
    """Statistics of the rows that training samples see; ``train_B`` is a bool per sample.

    ``readers`` read the texts of the tables they are given for, sub-words all others.
    """
    database, dated = recipe.database, recipe.task.horizon_days is not None
    parents = {
        table.name: parent_rows(con, database, table, dated=dated) for table in database.tables
    }
    seen = visible_rows(parents, database, recipe.paths, indexes, train_B)
    fitted = tuple(
        fit_table(
            feature_table(con, table),
            table,
            times_of(con, table.name),
            seen[table.name],
            scaling,
            readers.get(table.name),
        )
        for table in database.tables
    )
    return _tokenizer(con, recipe, Labeled(times, label_B, train_B), fitted)


def _tokenizer(
    con: Connection, recipe: Recipe, samples: Labeled, fitted: tuple[TableTokenizer, ...]
) -> Tokenizer:
    dated = recipe.task.horizon_days is not None
    asked = SampleTimes(*(moments[samples.train_B] for moments in samples.times))
    stamps = entity_stamps(con, recipe.entity, asked)
    return Tokenizer(
        tables=fitted,
        label=fit_label(recipe.task, samples.label_B[samples.train_B]),
        entity_table=recipe.entity.name,
        entity_ages=fit_entity_ages(stamps, asked.cutoff_B) if dated else (),
        dated=dated,
        stale=bool((asked.as_of_B < asked.cutoff_B).any()),
    )


def encode_database(
    con: Connection, recipe: Recipe, tokenizer: Tokenizer, readers: Readers = NO_READERS
) -> dict[str, TableTensors]:
    """Every table as tensors; ``readers`` as the tokenizer was fitted with."""
    database, dated = recipe.database, recipe.task.horizon_days is not None
    return {
        table.name: encode_table(
            feature_table(con, table),
            table,
            tokenizer[table.name],
            times_of(con, table.name),
            parent_rows(con, database, table, dated=dated),
            readers.get(table.name),
        )
        for table in database.tables
    }


def task_tensors(
    con: Connection,
    recipe: Recipe,
    tokenizer: Tokenizer,
    times: SampleTimes,
    indexes: Sequence[PathIndex],
    label_B: Array | None = None,
    readers: Readers = NO_READERS,
) -> TaskTensors:
    """Everything a batch is built from; labels are NaN where they are not known."""
    stamps = entity_stamps(con, recipe.entity, times)
    clock_BF = encode_clock(tokenizer, stamps, times)
    unknown_B = np.full(len(times.entity_B), np.nan)
    return TaskTensors(
        encode_database(con, recipe, tokenizer, readers),
        recipe.parents,
        recipe.paths,
        tuple(indexes),
        times,
        clock_BF,
        unknown_B if label_B is None else label_B,
    )


def write_fitted(
    con: Connection,
    recipe: Recipe,
    folder: Path,
    samples: Labeled,
    indexes: Sequence[PathIndex],
    scaling: NumericalScaling = NumericalScaling.STANDARD,
    readers: Readers = NO_READERS,
) -> Tokenizer:
    """``fit_tokenizer`` and ``write_task`` of what it gives, one table in memory at a time.

    A table is read once; its columns are let go once they are on disk.
    """
    database, dated = recipe.database, recipe.task.horizon_days is not None
    parents = {
        table.name: parent_rows(con, database, table, dated=dated) for table in database.tables
    }
    seen = visible_rows(parents, database, recipe.paths, indexes, samples.train_B)
    fitted = []
    for table in database.tables:
        features, time_R = feature_table(con, table), times_of(con, table.name)
        seen_R, reader = seen.pop(table.name), readers.get(table.name)
        fitted.append(fit_table(features, table, time_R, seen_R, scaling, reader))
        tensors = encode_table(features, table, fitted[-1], time_R, parents.pop(table.name), reader)
        write_tensors(folder / table.name, tensors)
    tokenizer = _tokenizer(con, recipe, samples, tuple(fitted))
    stamps = entity_stamps(con, recipe.entity, samples.times)
    _write_samples(
        folder, encode_clock(tokenizer, stamps, samples.times), samples.label_B, tokenizer
    )
    return tokenizer


def write_index(folder: Path, times: SampleTimes, indexes: Sequence[PathIndex]) -> None:
    """One ``.npy`` file per array: the samples' entity and times; each path's offsets and rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values_B in times._asdict().items():
        _save(folder / f"{name}.npy", values_B)
    for number, index in enumerate(indexes):
        _save(folder / f"path{number}_offsets_B.npy", index.offsets_B)
        _save(folder / f"path{number}_rows_N.npy", index.rows_N)


def open_index(folder: Path, paths: int) -> tuple[SampleTimes, tuple[PathIndex, ...]]:
    """What ``write_index`` wrote."""
    times = SampleTimes(*(_load(folder / f"{name}.npy") for name in SampleTimes._fields))
    indexes = tuple(
        PathIndex(
            _load(folder / f"path{number}_offsets_B.npy"),
            _load(folder / f"path{number}_rows_N.npy"),
        )
        for number in range(paths)
    )
    return times, indexes


def write_task(folder: Path, tensors: TaskTensors, tokenizer: Tokenizer) -> None:
    """Columns of every table, clock, labels and the fitted tokenizer; without the index."""
    for name, table in tensors.tables.items():
        write_tensors(folder / name, table)
    _write_samples(folder, tensors.clock_BF, tensors.label_B, tokenizer)


def _write_samples(folder: Path, clock_BF: Array, label_B: Array, tokenizer: Tokenizer) -> None:
    _save(folder / "clock_BF.npy", clock_BF)
    _save(folder / "label_B.npy", label_B)
    (folder / "tokenizer.json").write_text(tokenizer.model_dump_json(indent=1), encoding="utf-8")


def open_task(folder: Path, index_folder: Path, recipe: Recipe) -> tuple[TaskTensors, Tokenizer]:
    """Memory-mapped task tensors and their tokenizer."""
    text = (folder / "tokenizer.json").read_text(encoding="utf-8")
    times, indexes = open_index(index_folder, len(recipe.plans))
    tensors = TaskTensors(
        {table.name: open_tensors(folder / table.name) for table in recipe.database.tables},
        recipe.parents,
        recipe.paths,
        indexes,
        times,
        _load(folder / "clock_BF.npy"),
        _load(folder / "label_B.npy"),
        also=open_also(folder),
    )
    return tensors, Tokenizer.model_validate_json(text)


def _save(path: Path, array: Array) -> None:
    np.save(path, array, allow_pickle=False)


def _load(path: Path) -> Array:
    return np.load(path, allow_pickle=False)
