"""What a smaller form of a model costs and saves, measured on the file as it is loaded.

B samples.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nexus_model.api.shrink import Bench, goal_of
from nexus_model.apply import predict_samples
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.evaluate.bootstrap import Interval, Number, interval
from nexus_model.evaluate.calibration import Platt
from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.model import NexusFormer
from nexus_model.optimize.int8 import dequantize_weights, matrix_bytes
from nexus_model.optimize.prune import share_left
from nexus_model.optimize.report import Latency, measure_latency
from nexus_model.schema import Record, TaskKind, TaskSpec
from nexus_model.tokenize.batch import RelBatch, build_batch

ONE, MANY = 1, 256
MB = 1_000_000
_CALLS = {ONE: 30, MANY: 8}


class Calibrated(Record):
    """Expected calibration error, and the correction that would help: slope 1, intercept 0 is none.

    Of probabilities; the correction of two classes only.
    """

    error: Number
    slope: float | None = None
    intercept: float | None = None


class FormReport(Record):
    """One form of a model, measured on validation samples."""

    form: str
    file_bytes: int
    matrix_bytes: int = Field(description="of matrices as they are stored, scales included")
    parameters: int
    share_left: float = Field(description="of the weights that pruning looks at, not zero")
    metric: Interval
    loss: float = Field(description="of the metric against the first model; negative is a gain")
    largest_difference: float = Field(description="of a prediction, against the first model")
    calibration: Calibrated | None
    latency_one: Latency | None = Field(None, description="of the network, one sample")
    latency_many: Latency | None = Field(None, description=f"of the network, {MANY} samples")


class Exact(NamedTuple):
    """The model before the first step: its metric and its predictions of validation samples."""

    score: float
    prediction_B: np.ndarray


def measured(
    path: Path, form: str, bench: Bench, exact: Exact | None = None, *, timed: bool = True
) -> tuple[FormReport, Exact]:
    """Load a file and measure it; without ``exact`` it is itself the first model.

    Raises:
        ArtifactError: the file is damaged.
    """
    artifact = NexusFlowModelArtifact.load(path)
    stored = artifact.weights
    artifact.weights = dequantize_weights(stored)
    model, goal = artifact.build(), goal_of(artifact)
    prediction_B = predict_samples(model, bench.tensors, bench.validation_B, goal.task, goal.scale)
    found = scored(goal.task, prediction_B, bench)
    exact = exact or Exact(found.estimate, prediction_B)
    one, many = latencies(model, model, bench) if timed else (None, None)
    report = FormReport(
        form=form,
        file_bytes=path.stat().st_size,
        matrix_bytes=stored_matrix_bytes(artifact.weights, stored),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        share_left=share_left(artifact.weights),
        metric=found,
        loss=loss_of(goal.task, exact.score, found.estimate),
        largest_difference=_largest(exact.prediction_B, prediction_B),
        calibration=calibrated(goal.task.kind, prediction_B, bench),
        latency_one=one,
        latency_many=many,
    )
    return report, exact


def scored(task: TaskSpec, prediction_B: np.ndarray, bench: Bench) -> Interval:
    """The task's metric on validation samples with its interval."""
    label_B = bench.tensors.label_B[bench.validation_B]
    return interval(primary_metric(task), prediction_B, label_B, bench.clusters_B)


def loss_of(task: TaskSpec, before: float, after: float) -> float:
    """What the metric lost: a difference where more is better, a share of an error.

    >>> again = TaskSpec(name="again", kind=TaskKind.BINARY, entity_table="shops")
    >>> spent = TaskSpec(name="spent", kind=TaskKind.REGRESSION, entity_table="shops")
    >>> round(loss_of(again, 0.80, 0.79), 6), loss_of(spent, 2.0, 2.5)
    (0.01, 0.25)
    """
    if primary_metric(task).direction is Direction.MAX:
        return before - after
    return (after - before) / max(abs(before), 1e-12)


def calibrated(kind: TaskKind, prediction_B: np.ndarray, bench: Bench) -> Calibrated | None:
    """Whether what is said happens as often as said; None of a task without probabilities."""
    if kind not in (TaskKind.BINARY, TaskKind.MULTICLASS):
        return None
    label_B = bench.tensors.label_B[bench.validation_B]
    error = measure("ece", prediction_B, label_B)
    if kind is TaskKind.MULTICLASS:
        return Calibrated(error=error)
    platt = Platt.fit(prediction_B, label_B)
    return Calibrated(error=error, slope=platt.slope, intercept=platt.intercept)


def latencies(
    model: NexusFormer, call: Callable[[RelBatch], Tensor], bench: Bench
) -> tuple[Latency, Latency]:
    """Of ``call`` on prepared batches for ``model``: one sample, and many."""
    found = []
    for count, calls in _CALLS.items():
        batch = build_batch(bench.tensors, bench.validation_B[:count], model.config.parent_hops)
        with torch.no_grad():
            found.append(measure_latency(partial(call, batch), calls=calls, warm_up=3))
    return found[0], found[1]


def stored_matrix_bytes(wide: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> int:
    """Bytes of everything stored of matrices: values, scales and bitmaps."""
    names = tuple(f"{n}." for n, t in wide.items() if t.ndim == 2 and t.is_floating_point())
    parts = sum(t.nbytes for n, t in stored.items() if n not in wide and n.startswith(names))
    return parts + matrix_bytes({n: t for n, t in stored.items() if n in wide})


def _largest(exact_B: np.ndarray, other_B: np.ndarray) -> float:
    return float(np.abs(exact_B - other_B).max()) if exact_B.size else 0.0
