"""Validation on all ranks: each answers its share, and every one of them gets all answers.

B samples, Y outputs.
"""

import numpy as np
import torch

from nexus_model.apply import predict_samples
from nexus_model.model import NexusFormer
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.tokenize.cohorts import cohorts
from nexus_model.train.config import TrainingConfig
from nexus_model.train.devices import Ranks
from nexus_model.train.loader import Goal, NexusLoader
from nexus_model.train.losses import batch_losses

Array = np.ndarray


def predict_shares(
    model: NexusFormer, tensors: TaskTensors, chosen_B: Array, goal: Goal, ranks: Ranks
) -> Array:
    """As ``predict_samples``, whose samples are divided among the ranks; cohorts stay whole."""
    together_B = cohorts(tensors.times, chosen_B) if model.config.cohort else None
    own = ranks.own(np.arange(len(chosen_B)), together_B)
    found = predict_samples(model, tensors, chosen_B[own], goal.task, goal.scale)
    if ranks.world_size == 1:
        return found
    # Everyone adds zeros to what one of them has found, so that no digit is lost.
    every = np.zeros((len(chosen_B), *found.shape[1:]), found.dtype)
    every[own] = found
    return ranks.summed(torch.from_numpy(every)).numpy()


def mean_loss(
    model: NexusFormer, loader: NexusLoader, config: TrainingConfig, ranks: Ranks | None = None
) -> float:
    """Mean loss of the task over the loader's samples, nothing dropped at random."""
    ranks = ranks or Ranks()
    was_training, total = model.training, 0.0
    model.eval()
    with torch.no_grad():
        for share in loader.shares(0, ranks):
            if share.weight:
                weight = share.weight * len(share.whole_B)
                total += weight * float(batch_losses(model, share.batch, loader.goal, config).task)
    model.train(was_training)
    return ranks.total(total)[0] / len(loader.chosen_B)
