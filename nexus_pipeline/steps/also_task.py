"""Further labels of a task's samples: other tasks' answers about the same entity and cutoff.

They are joined from the other task's own samples, whose windows are whole within a split: a label
computed at this task's cutoffs could look past the end of the split. Test samples get none.
B samples.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from nexus_model.align.relate import quoted
from nexus_model.align.samples import Split, label_sql
from nexus_model.evaluate.metrics import measure, primary_metric
from nexus_model.schema import DataError, TaskSpec
from nexus_model.tokenize.also import AlsoLabel, fit_also
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps import plan
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.batch import TaskTensors

# A validation sample that is learned from later keeps its label; it is another split's otherwise.
SPLIT = f"if(own.split = '{Split.REFIT}', '{Split.VALIDATION}', own.split)"


def read_also(
    project: ProjectConfig, task: str, split_B: np.ndarray, store: Store
) -> tuple[AlsoLabel, ...]:
    """Labels of the further tasks the project names, in its order.

    Raises:
        DataError: no training sample has a label of one of them.
    """
    found = []
    with store.read() as con:
        for name in plan.also_asked(project, task):
            other = _further_task(con, project, name)
            label_B = _labels(con, project, task, other)
            found.append(_fitted(project, task, other, label_B, split_B))
    return tuple(found)


def _further_task(con: duckdb.DuckDBPyConnection, project: ProjectConfig, name: str) -> TaskSpec:
    if project.target is None:
        return plan.temporal_task(project, name)
    return plan.column_task(con, project.target.target_table, name)


def _labels(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, task: str, other: TaskSpec
) -> np.ndarray:
    keys = project[other.entity_table].primary_key
    select = _asked_at(task, other, keys) if project.target is None else _of_column(task, other)
    found = con.sql(select).to_arrow_table()
    return np.asarray(found["label"].to_numpy(), dtype=np.float64)


def _asked_at(task: str, other: TaskSpec, keys: tuple[str, ...]) -> str:
    """Labels by entity and cutoff; samples of older data repeat a question, not its answer."""
    key = ", ".join(map(quoted, keys))
    same = " and ".join(f"own.{quoted(name)} = theirs.{quoted(name)}" for name in keys)
    return f"""
    with theirs as (
        select {key}, cutoff, split, min(label) as label
        from aligned.{quoted(f"samples_{other.name}")}
        where split in ('{Split.TRAIN}', '{Split.VALIDATION}')
        group by {key}, cutoff, split
    )
    select theirs.label
    from aligned.{quoted(f"samples_{task}")} as own
    left join theirs
        on {same} and own.cutoff = theirs.cutoff and {SPLIT} = theirs.split
    order by own.sample
    """


def _of_column(task: str, other: TaskSpec) -> str:
    """Another column of the entity's row."""
    return f"""
    select case when own.split <> '{Split.TEST}' then {label_sql(other)} end as label
    from aligned.{quoted(f"samples_{task}")} as own
    inner join aligned.{quoted(other.entity_table)} as entity on entity._row = own.entity_row
    order by own.sample
    """


def _fitted(
    project: ProjectConfig, task: str, other: TaskSpec, label_B: np.ndarray, split_B: np.ndarray
) -> AlsoLabel:
    train_B = split_B == Split.TRAIN.value
    try:
        return fit_also(other, label_B, train_B, plan.also_weight(project, task))
    except DataError as error:
        told = "their cutoffs never meet; " if project.target is None else ""
        raise DataError(
            f"task {task} also predicts {other.name}, but {told}{error}", table=f"samples_{task}"
        ) from error


def also_facts(labels: tuple[AlsoLabel, ...], split_B: np.ndarray) -> Mapping[str, float]:
    """Share of the training samples that have each further label."""
    train_B = split_B == Split.TRAIN.value
    return {
        f"labelled/{own.goal.task.name}": float(np.isfinite(own.label_B[train_B]).mean())
        for own in labels
    }


def also_scores(
    model: "NexusFormer", tensors: "TaskTensors", validation_B: np.ndarray
) -> dict[str, float]:
    """How well the model tells each further label of the validation samples that have it.

    Nothing is said of a label that too few of them have for its metric.
    """
    from nexus_model.apply import predict_also

    found = {}
    for own in tensors.also:
        metric = primary_metric(own.goal.task)
        known_B = validation_B[np.isfinite(own.label_B[validation_B])]
        prediction_B = predict_also(model, tensors, known_B, own.goal)
        score = measure(metric, prediction_B, own.label_B[known_B])
        found[f"validation_{metric.name}/{own.goal.task.name}"] = score
    return {name: score for name, score in found.items() if np.isfinite(score)}
