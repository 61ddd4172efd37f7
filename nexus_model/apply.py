"""Apply a model to samples of a tokenized task: the one way predictions are made.

B samples, Y outputs.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from nexus_model.align.index import SampleTimes
from nexus_model.model import NexusFormer
from nexus_model.predict.heads import prediction
from nexus_model.schema import TaskSpec
from nexus_model.tokenize.also import AlsoGoal
from nexus_model.tokenize.batch import RelBatch, TaskTensors, build_batch
from nexus_model.tokenize.cohorts import whole_cohorts
from nexus_model.tokenize.move import device_of, moved
from nexus_model.tokenize.statistics import LabelScale


def predict_samples(
    model: NexusFormer,
    tensors: TaskTensors,
    chosen_B: np.ndarray,
    task: TaskSpec,
    scale: LabelScale,
    *,
    batch_size: int = 512,
    cycles: int | None = None,
) -> np.ndarray:
    """Predictions ``[B]`` in label units, or quantiles or class probabilities ``[B, Y]``, as asked.

    Samples of a cohort are predicted together, however large it is, by a model that reads cohorts.
    ``cycles`` overrides the configured number of refinements.
    """
    return _asked(
        model, tensors, chosen_B, task.answer_shape, batch_size,
        lambda batch: prediction(task, model(batch, cycles), scale),
    )  # fmt: skip


def predict_also(
    model: NexusFormer,
    tensors: TaskTensors,
    chosen_B: np.ndarray,
    goal: AlsoGoal,
    *,
    batch_size: int = 512,
) -> np.ndarray:
    """As ``predict_samples``, of a further task that the model was built with.

    Raises:
        ValueError: it was not.
    """
    task = goal.task
    if task.name not in model.also_names:
        raise ValueError(f"further tasks are {list(model.also_names)}, got {task.name!r}")
    at = 1 + model.also_names.index(task.name)
    return _asked(
        model, tensors, chosen_B, task.answer_shape, batch_size,
        lambda batch: prediction(task, model.answers(batch)[at], goal.scale),
    )  # fmt: skip


def _asked(
    model: NexusFormer,
    tensors: TaskTensors,
    chosen_B: np.ndarray,
    shape: tuple[int, ...],
    batch_size: int,
    answer: Callable[[RelBatch], Tensor],
) -> np.ndarray:
    was_training = model.training
    # Walking all modules costs milliseconds, more than predicting a few samples should.
    if was_training:
        model.eval()
    found = np.zeros((len(chosen_B), *shape), np.float32)
    asked = np.arange(len(chosen_B))
    if model.config.cohort:
        times = SampleTimes(*(moments[chosen_B] for moments in tensors.times))
        parts = whole_cohorts(times, asked, batch_size)
    else:
        parts = [asked[at : at + batch_size] for at in range(0, len(asked), batch_size)]
    with torch.no_grad():
        for part in parts:
            batch = build_batch(tensors, chosen_B[part], model.config.parent_hops)
            found[part] = answer(moved(batch, device_of(model))).cpu().numpy()
    if was_training:
        model.train()
    return found
