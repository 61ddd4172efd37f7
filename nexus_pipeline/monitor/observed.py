"""What is seen of one task at one time: its tables, predictions, labels and vectors.

The reference is what was seen when the champion was made; a day is compared with it. Both are read
by the same functions, so that the comparison is of like with like.
"""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_model.schema import TaskKind, TaskSpec
from nexus_pipeline.monitor.compare import compare_column, compare_tables
from nexus_pipeline.monitor.design import Groups, as_groups
from nexus_pipeline.monitor.distances import Array
from nexus_pipeline.monitor.novelty import Vectors, novel_share, novelty_quantiles
from nexus_pipeline.monitor.record import LABEL, PREDICTION, Finding, Measure, Part
from nexus_pipeline.monitor.windows import TableRows
from nexus_pipeline.settings.monitoring import MonitoringConfig

if TYPE_CHECKING:
    from nexus_model.serve.predictor import Predictor
    from nexus_model.tokenize.batch import TaskTensors

LEARNED = ("train", "validation", "refit")


class Said(NamedTuple):
    """Numbers or class names, and with time the moment each is about."""

    values: Array
    moments: Array | None = None


class Observed(NamedTuple):
    """Parts that could not be seen are None."""

    tables: dict[str, TableRows]
    predictions: Said | None = None
    labels: Said | None = None
    vectors: Vectors | None = None


def compare_observed(
    config: MonitoringConfig, task: str, reference: Observed, current: Observed
) -> Iterator[Finding]:
    """Every test of a run; which of them count is decided over all together (``decide``)."""
    yield from compare_tables(config, reference.tables, current.tables)
    said: tuple[tuple[Part, Said | None, Said | None], ...] = (
        (PREDICTION, reference.predictions, current.predictions),
        (LABEL, reference.labels, current.labels),
    )
    for part, then, now in said:
        if then is not None and now is not None:
            about = (part, task, str(part))
            yield from compare_column(config, about, then.values, now.values, _moments(then, now))
    if reference.vectors is not None and current.vectors is not None:
        known = len(reference.vectors.keys)
        found = novel_share(novelty_quantiles(current.vectors, reference.vectors)[1], known)
        yield Finding(
            part="input", table=task, column="", measure=Measure.NOVELTY, size=found.size,
            bound=config.novelty, p=found.p, reference_rows=known,
            current_rows=len(current.vectors.keys),
        )  # fmt: skip


def _moments(then: Said, now: Said) -> tuple[Groups, ...]:
    """What is said of one moment belongs together."""
    if then.moments is None or now.moments is None or not len(now.moments):
        return ()
    return (as_groups(then.moments.astype(str), now.moments.astype(str)),)


def as_predictions(task: TaskSpec, found: Array) -> Array:
    """Predictions as they are compared: numbers, the middle quantile, or the likeliest class."""
    if found.ndim == 1:
        return np.asarray(found, dtype=np.float64)
    names = np.empty(len(found), dtype=object)
    if task.kind is TaskKind.MULTICLASS:
        names[:] = [task.classes[index] for index in found.argmax(axis=1)]
        return names
    return np.asarray(found[:, task.middle], dtype=np.float64)


def as_labels(task: TaskSpec, found: pa.Table) -> Said:
    """Labels as they are compared: numbers, or names of classes; with their cutoffs."""
    label = found["label"].to_numpy()
    moments = found["cutoff"].to_numpy().astype(str) if "cutoff" in found.column_names else None
    return Said(_label_values(task, label), moments)


def _label_values(task: TaskSpec, found: Array) -> Array:
    if task.kind.is_number:
        return np.asarray(found, dtype=np.float64)
    names = np.empty(len(found), dtype=object)
    names[:] = [
        task.classes[int(label)] if task.classes else str(int(label)) for label in found.tolist()
    ]
    return names


def key_texts(keys: pa.Table) -> tuple[str, ...]:
    """Keys of entities as one text each."""
    columns = [column.to_pylist() for column in keys.columns]
    return tuple("|".join(map(str, key)) for key in zip(*columns, strict=True))


def key_sql(recipe: Recipe) -> str:
    """The SQL of the same."""
    return f"concat_ws('|', {', '.join(quoted(name) for name in recipe.entity.primary_key)})"


def closed_labels(
    con: duckdb.DuckDBPyConnection, recipe: Recipe, after: dt.datetime, until: dt.datetime
) -> pa.Table:
    """Keys, cutoffs and labels whose windows closed after a moment, and by another."""
    source = f"aligned.{quoted(recipe.labels or '')}"
    known = {row[0] for row in con.sql(f"describe {source}").fetchall()}
    closes = "window_end" if "window_end" in known else (
        f"cutoff + interval {recipe.task.horizon_days} day"
    )  # fmt: skip
    return con.sql(
        f"select {key_sql(recipe)} as key, cutoff, cast(label as double) as label from {source} "
        f"where label is not null and {closes} > ? and {closes} <= ? order by cutoff, key",
        params=[after, until],
    ).to_arrow_table()


def all_labels(con: duckdb.DuckDBPyConnection, recipe: Recipe) -> pa.Table:
    """Keys, splits and labels of a task without time."""
    samples = f"aligned.{quoted('samples_' + recipe.task.name)}"
    return con.sql(
        f"select {key_sql(recipe)} as key, split, label from {samples} order by sample"
    ).to_arrow_table()


def vectors_of(
    model: Any, tensors: "TaskTensors", chosen_B: Array, keys: tuple[str, ...]
) -> Vectors:
    """The fused vectors of samples, of length one."""
    import torch

    from nexus_model.tokenize.batch import build_batch
    from nexus_model.tokenize.move import device_of, moved

    parts = []
    with torch.no_grad():
        for start in range(0, len(chosen_B), 512):
            batch = build_batch(tensors, chosen_B[start : start + 512], model.config.parent_hops)
            parts.append(model.embed(moved(batch, device_of(model))).double().cpu().numpy())
    found = np.concatenate(parts) if parts else np.zeros((0, model.config.width))
    length = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return Vectors(found / length, keys)


def drawn_rows(rows: int, most: int, seed: int = 0) -> Array:
    """At most so many row numbers, rising."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def read_model(
    predictor: "Predictor",
    frames: dict[str, pa.Table],
    moment: dt.datetime | None,
    asked: set[Any] | None,
    most: int,
) -> tuple[pa.Table, Vectors]:
    """Predictions with keys of those asked about, and the vectors of at most so many of them."""
    read = predictor.read_several([predictor.question(frames, moment, asked=asked)])
    (answers,) = predictor.answers_of(read)
    chosen_B = drawn_rows(len(answers), most)
    keys = key_texts(read.keys[0].take(pa.array(chosen_B)))
    return answers, vectors_of(predictor.model, read.tensors, chosen_B, keys)
