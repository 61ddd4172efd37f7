"""Live metrics: how good predictions were, measured when the labels of their day are there."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from nexus_model.align.recipe import Recipe
from nexus_model.evaluate.bootstrap import Interval, interval
from nexus_model.evaluate.metrics import Direction, direction_of, primary_metric
from nexus_model.schema import TaskSpec
from nexus_pipeline.monitor.distances import Array
from nexus_pipeline.monitor.observed import all_labels, closed_labels, key_texts
from nexus_pipeline.monitor.record import LiveMetric
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.predict_batch import PREDICTIONS, prediction_folder
from nexus_pipeline.storage import Store


def live_metrics(
    project: ProjectConfig, recipe: Recipe, store: Store, day: str, known: frozenset[str]
) -> tuple[LiveMetric, ...]:
    """The metric of every day that was predicted and whose labels are there by ``day``.

    A day counts if the task asks at it: labels are made for its cutoffs. A task without time has
    one entry: entities that have a label now and had none (``known``) when the champion was made.
    """
    return tuple(_measured(project, recipe, store, day, known))


def _measured(
    project: ProjectConfig, recipe: Recipe, store: Store, day: str, known: frozenset[str]
) -> Iterator[LiveMetric]:
    if recipe.grid is None:
        with store.read() as con:
            found = all_labels(con, recipe)
        labels = {
            key: label
            for key, label in zip(found["key"].to_pylist(), found["label"].to_pylist(), strict=True)
            if key not in known
        }
        yield from _of_day(project, recipe, "", labels)
        return
    with store.read() as con:
        closed = closed_labels(con, recipe, recipe.grid.test_from, dt.datetime.fromisoformat(day))
    moments = closed["cutoff"].to_pylist()
    rows = list(zip(moments, closed["key"].to_pylist(), closed["label"].to_pylist(), strict=True))
    for moment in sorted(set(moments)):
        if moment.time() == dt.time():
            labels = {key: label for cutoff, key, label in rows if cutoff == moment}
            yield from _of_day(project, recipe, moment.date().isoformat(), labels)


def _of_day(
    project: ProjectConfig, recipe: Recipe, day: str, labels: dict[str, float]
) -> Iterator[LiveMetric]:
    folder = prediction_folder(project, recipe.task.name, day)
    if not labels or not (folder / PREDICTIONS).is_file():
        return
    table = parquet.read_table(folder / PREDICTIONS)
    keys = key_texts(table.select(recipe.entity.primary_key))
    asked_B = np.array([at for at, key in enumerate(keys) if key in labels], np.int64)
    if len(asked_B) < 2:
        return
    label_B = np.array([labels[keys[at]] for at in asked_B])
    said_B = predicted(recipe.task, table)[asked_B]
    found = interval(primary_metric(recipe.task), said_B, label_B, None)
    if np.isfinite(found.estimate):
        yield LiveMetric(day=day, champion=_champion(folder), found=found)


def predicted(task: TaskSpec, table: pa.Table) -> Array:
    """Predictions of a batch as metrics take them: numbers, probabilities by class or quantiles."""
    if task.output_columns:
        return np.column_stack([table[name].to_numpy() for name in task.output_columns])
    return np.asarray(table["prediction"].to_numpy(), dtype=np.float64)


def _champion(folder: Path) -> str:
    told = json.loads((folder / "about.json").read_text("utf-8"))
    return str(told.get("champion", ""))


def has_fallen(live: tuple[LiveMetric, ...], expected: Interval | None, bound: float) -> bool:
    """Whether the newest live metric is worse than on test samples: by the bound, and for sure.

    For sure: its whole interval is on the worse side of what the test said.
    """
    if not live or expected is None:
        return False
    found, usual = live[-1].found, expected.estimate
    sign = 1 if direction_of(found.metric) is Direction.MAX else -1
    best = found.high if sign > 0 else found.low
    loss = sign * (usual - found.estimate) / max(abs(usual), 1e-12)
    return bool(loss > bound and np.isfinite(best) and sign * best < sign * usual)
