"""Further labels of a task's own samples: what a model may learn to answer beside its task.

B samples. A label of NaN is unknown. Further labels are never inputs: batches carry them where they
carry the task's own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import Field

from nexus_model.schema import DataError, Record, TaskSpec
from nexus_model.tokenize.fit import fit_label
from nexus_model.tokenize.statistics import LabelScale

Array = np.ndarray
TOLD = "also.json"


class AlsoGoal(Record):
    """A further task, the scale of its label, and how much its loss counts beside the task's."""

    task: TaskSpec
    scale: LabelScale = LabelScale()
    weight: float = Field(1.0, gt=0)


class AlsoGoals(Record):
    """Further tasks in order, as they are kept in a file."""

    goals: tuple[AlsoGoal, ...]


class AlsoLabel(NamedTuple):
    """A further task and its label of every sample, NaN where it is not known."""

    goal: AlsoGoal
    label_B: Array


def fit_also(task: TaskSpec, label_B: Array, train_B: Array, weight: float = 1.0) -> AlsoLabel:
    """A further label whose scale is that of the training samples that have it.

    Raises:
        DataError: no training sample has it.
    """
    known_N = label_B[train_B & np.isfinite(label_B)]
    if not len(known_N):
        raise DataError(f"no training sample has a label of {task.name}", table=task.entity_table)
    return AlsoLabel(AlsoGoal(task=task, scale=fit_label(task, known_N), weight=weight), label_B)


def write_also(folder: Path, labels: Sequence[AlsoLabel]) -> None:
    """One ``.npy`` file per label and a file that tells of what; those of before are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for former in (folder / TOLD, *folder.glob("also*_B.npy")):
        former.unlink(missing_ok=True)
    if not labels:
        return
    for number, found in enumerate(labels):
        np.save(folder / f"also{number}_B.npy", found.label_B, allow_pickle=False)
    told = AlsoGoals(goals=tuple(found.goal for found in labels))
    (folder / TOLD).write_text(told.model_dump_json(indent=1), encoding="utf-8")


def open_also(folder: Path) -> tuple[AlsoLabel, ...]:
    """What ``write_also`` wrote."""
    path = folder / TOLD
    if not path.is_file():
        return ()
    told = AlsoGoals.model_validate_json(path.read_text(encoding="utf-8"))
    return tuple(
        AlsoLabel(goal, np.load(folder / f"also{number}_B.npy", allow_pickle=False))
        for number, goal in enumerate(told.goals)
    )
