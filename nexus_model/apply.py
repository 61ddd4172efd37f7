"""Apply a model to samples of a tokenized task: the one way predictions are made.

B samples, Y outputs.
"""

import numpy as np
import torch

from nexus_model.align.index import SampleTimes
from nexus_model.model import NexusFormer
from nexus_model.predict.heads import prediction
from nexus_model.schema import TaskSpec
from nexus_model.tokenize.batch import TaskTensors, build_batch
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
    """Predictions ``[B]`` in label units, or class probabilities ``[B, Y]``, in the order asked.

    Samples of a cohort are predicted together, however large it is, by a model that reads cohorts.
    ``cycles`` overrides the configured number of refinements.
    """
    was_training = model.training
    # Walking all modules costs milliseconds, more than predicting a few samples should.
    if was_training:
        model.eval()
    found = np.zeros((len(chosen_B), *([task.outputs] * (task.outputs > 1))), np.float32)
    asked = np.arange(len(chosen_B))
    if model.config.cohort:
        times = SampleTimes(*(moments[chosen_B] for moments in tensors.times))
        parts = whole_cohorts(times, asked, batch_size)
    else:
        parts = [asked[at : at + batch_size] for at in range(0, len(asked), batch_size)]
    with torch.no_grad():
        for part in parts:
            batch = build_batch(tensors, chosen_B[part], model.config.parent_hops)
            raw_BY = model(moved(batch, device_of(model)), cycles)
            found[part] = prediction(task, raw_BY, scale).cpu().numpy()
    if was_training:
        model.train()
    return found
