"""One training of a NexusFormer on a generated shop: configuration in, test predictions out."""

import time
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.shop.database import ShopTask
from nexus_model.apply import predict_samples
from nexus_model.config import NexusConfig
from nexus_model.evaluate.metrics import measure
from nexus_model.model import NexusFormer
from nexus_model.train.config import TrainingConfig
from nexus_model.train.loop import Goal, fit, new_state
from nexus_model.train.state import TrainState


class Trained(NamedTuple):
    """A finished training."""

    prediction_B: np.ndarray
    validation: float
    test: float
    epochs: int
    seconds: float
    parameters: int


def fitted(shop: ShopTask, config: NexusConfig, training: TrainingConfig) -> TrainState:
    """A finished training, its weights those of the epoch that validates best."""
    task = shop.recipe.task
    torch.manual_seed(training.seed)
    model = NexusFormer(config, shop.tokenizer, shop.recipe.paths, task)
    goal = Goal(task=task, scale=shop.tokenizer.label, higher_is_better=True)
    splits = shop.samples("train"), shop.samples("validation")

    def auroc(prediction_B: np.ndarray, label_B: np.ndarray) -> float:
        return measure("auroc", prediction_B, label_B)

    return fit(
        new_state(model, training), shop.tensors, splits, goal, training, auroc,
        on_step=lambda _: None, on_epoch=lambda _: None,
    )  # fmt: skip


def train(shop: ShopTask, config: NexusConfig, training: TrainingConfig) -> Trained:
    """Train, choose the epoch on validation, predict the test split once."""
    task, started = shop.recipe.task, time.perf_counter()
    state = fitted(shop, config, training)
    test_B = shop.samples("test")
    found = predict_samples(state.model, shop.tensors, test_B, task, shop.tokenizer.label)
    return Trained(
        prediction_B=found,
        validation=float(state.progress.best_score or 0),
        test=measure("auroc", found, shop.tensors.label_B[test_B]),
        epochs=state.progress.next_epoch,
        seconds=time.perf_counter() - started,
        parameters=sum(p.numel() for p in state.model.parameters()),
    )
