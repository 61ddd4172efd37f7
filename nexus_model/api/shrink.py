"""One signature for every way to make a model smaller: an artifact in, another one out.

B samples. The artifact given is not changed. Methods follow one another: what was pruned stays
pruned when it is trained on, and is stored as bits of INT8 when it is quantised.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, assert_never

import numpy as np
import torch
from torch import Tensor

from nexus_model.apply import predict_samples
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.config import NexusConfig
from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.model import NexusFormer
from nexus_model.optimize.int4 import VALUES as INT4
from nexus_model.optimize.int4 import quantize_to_int4
from nexus_model.optimize.int8 import dequantize_weights, quantize_weights, stays_float
from nexus_model.optimize.methods import (
    Criterion,
    Distil,
    Finetune,
    Int4,
    Int8,
    Method,
    Structured,
    Unstructured,
)
from nexus_model.optimize.narrow import cut, narrow_config
from nexus_model.optimize.prune import (
    Scores,
    movement_scores,
    prunable,
    prune,
    still_scores,
    wanda_scores,
)
from nexus_model.optimize.sparse import BITMAP, pack_zeros
from nexus_model.optimize.student import student_config, taught
from nexus_model.predict.losses import task_loss
from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.batch import TaskTensors
from nexus_model.train.config import TrainingConfig
from nexus_model.train.loader import Goal, NexusLoader
from nexus_model.train.loop import fit, new_state
from nexus_model.train.state import TrainState

_SCORED_SAMPLES = 2048


class Bench(NamedTuple):
    """Samples that a method may look at: training ones to learn from, validation ones to choose by.

    ``clusters_B`` tells which validation samples belong together when an interval is drawn.
    """

    tensors: TaskTensors
    train_B: np.ndarray
    validation_B: np.ndarray
    clusters_B: np.ndarray | None = None
    training: TrainingConfig = TrainingConfig()


class _Packing(NamedTuple):
    """How matrices are stored."""

    kind: str
    zeros: bool

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "_Packing":
        names = tuple(name.removesuffix(BITMAP) for name in weights)
        kind = "int8" if any(name.endswith(".int8") for name in names) else "fp32"
        kind = "int4" if any(name.endswith(INT4) for name in names) else kind
        return cls(kind, any(name.endswith(BITMAP) for name in weights))

    def apply(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        packed = dict(weights)
        if self.kind == "int8":
            packed = quantize_weights(weights, keep=stays_float)
        elif self.kind == "int4":
            packed = quantize_to_int4(weights, keep=stays_float)
        return pack_zeros(packed) if self.zeros else packed


def shrink(
    artifact: NexusFlowModelArtifact, method: Method, bench: Bench | None = None
) -> NexusFlowModelArtifact:
    """A smaller form of a model, by one method; a training is kept if it scores better than none.

    Raises:
        ConfigurationError: the method needs samples and none are given, or cannot do what is asked.
        TrainingError: a training's loss is not finite.
    """
    packing, wide = _Packing.of(artifact.weights), _widened(artifact)
    config, weights = artifact.config, wide.weights
    match method:
        case Int8():
            packing = packing._replace(kind="int8")
        case Int4():
            packing = packing._replace(kind="int4")
        case Unstructured(amount=amount):
            scores = _scores(wide, method.criterion, bench)
            weights, packing = prune(weights, scores, amount), packing._replace(zeros=True)
        case Structured(amount=amount):
            config = narrow_config(config, _tables(wide), partial(_made, wide), amount)
            weights = cut(wide.build(), _made(wide, config)).state_dict()
        case Finetune():
            weights = _finetuned(wide, method, _needed(bench, method))
        case Distil():
            config, weights = _distilled(wide, method, _needed(bench, method))
            packing = packing._replace(zeros=False)
        case _ as unreachable:
            assert_never(unreachable)
    before = artifact.optimization.get("methods", [])
    return NexusFlowModelArtifact(
        artifact.recipe,
        artifact.tokenizer,
        config,
        packing.apply({name: tensor.detach().clone() for name, tensor in weights.items()}),
        metrics=artifact.metrics,
        lineage=artifact.lineage,
        optimization={
            "weights": packing.kind,
            "zeros": packing.zeros,
            "methods": [*before, method.model_dump(mode="json")],
        },
    )


def goal_of(artifact: NexusFlowModelArtifact) -> Goal:
    """What the artifact's model was trained for."""
    task = artifact.recipe.task
    higher = primary_metric(task).direction is Direction.MAX
    return Goal(task=task, scale=artifact.tokenizer.label, higher_is_better=higher)


def answers(
    artifact: NexusFlowModelArtifact, tensors: TaskTensors, chosen_B: np.ndarray
) -> np.ndarray:
    """What the stored model predicts."""
    goal = goal_of(artifact)
    model = _widened(artifact).build()
    return predict_samples(model, tensors, chosen_B, goal.task, goal.scale)


def _widened(artifact: NexusFlowModelArtifact) -> NexusFlowModelArtifact:
    return NexusFlowModelArtifact(
        artifact.recipe, artifact.tokenizer, artifact.config, dequantize_weights(artifact.weights)
    )


def _tables(artifact: NexusFlowModelArtifact) -> list[str]:
    return [table.table for table in artifact.tokenizer.tables]


def _made(artifact: NexusFlowModelArtifact, config: NexusConfig) -> NexusFormer:
    return NexusFormer(config, artifact.tokenizer, artifact.recipe.paths, artifact.recipe.task)


def _needed(bench: Bench | None, method: Method) -> Bench:
    if bench is None:
        raise ConfigurationError(
            f"{method.kind} needs samples of the task: give bench=, or run `nexusflow optimize`"
        )
    return bench


def _scores(artifact: NexusFlowModelArtifact, criterion: Criterion, bench: Bench | None) -> Scores:
    if not criterion.needs_samples:
        return still_scores(artifact.weights, criterion)
    if bench is None:
        raise ConfigurationError(f"criterion {criterion.value} needs samples: give bench=")
    model, goal = artifact.build(), goal_of(artifact)
    some_B = bench.train_B[:: max(1, len(bench.train_B) // _SCORED_SAMPLES)]
    loader = NexusLoader(bench.tensors, some_B, goal=goal, model=model.config)
    batches = (batch for _, batch in loader.epoch(0))
    if criterion is Criterion.WANDA:
        return wanda_scores(model, batches)
    return movement_scores(
        model, batches, lambda raw_BY, label_B: task_loss(goal.task, raw_BY, label_B, goal.scale)
    )


def _finetuned(
    artifact: NexusFlowModelArtifact, method: Finetune, bench: Bench
) -> dict[str, Tensor]:
    model = artifact.build()
    parameters = dict(model.named_parameters())
    gone = {name: parameters[name].detach() == 0 for name in prunable(artifact.weights)
            if name in parameters}  # fmt: skip

    def stay_zero() -> None:
        with torch.no_grad():
            for name, zero in gone.items():
                parameters[name].masked_fill_(zero, 0)

    config = bench.training.model_copy(
        update={"epochs": method.epochs, "patience": method.epochs, "lr": method.lr}
    )
    sparse = any(bool(zero.any()) for zero in gone.values())
    before = _score(artifact, model, bench)
    state = _fitted(artifact, model, bench, config, stay_zero if sparse else lambda: None)
    after, higher = state.progress.best_score, goal_of(artifact).higher_is_better
    better = after is not None and (after > before if higher else after < before)
    # A training that gained nothing is not taken.
    return state.model.state_dict() if better else artifact.weights


def _score(artifact: NexusFlowModelArtifact, model: NexusFormer, bench: Bench) -> float:
    goal, chosen_B = goal_of(artifact), bench.validation_B
    found = predict_samples(model, bench.tensors, chosen_B, goal.task, goal.scale)
    metric = primary_metric(goal.task)
    return measure(metric, found, bench.tensors.label_B[chosen_B])


def _distilled(
    artifact: NexusFlowModelArtifact, method: Distil, bench: Bench
) -> tuple[NexusConfig, dict[str, Tensor]]:
    task = artifact.recipe.task
    make = partial(_made, artifact)
    chosen = student_config(artifact.config, _tables(artifact), make, method.share)
    answer_B = answers(artifact, bench.tensors, bench.train_B)
    lesson = taught(bench.tensors, bench.train_B, answer_B, task.kind, method.teacher)
    with torch.random.fork_rng():
        torch.manual_seed(bench.training.seed)
        student = _made(artifact, chosen)
    config = bench.training.model_copy(
        update={"epochs": method.epochs, "patience": method.epochs, "lr": method.lr}
    )
    lesson_bench = bench._replace(tensors=lesson)
    state = _fitted(artifact, student, lesson_bench, config, lambda: None)
    return chosen, state.model.state_dict()


def _fitted(
    artifact: NexusFlowModelArtifact,
    model: NexusFormer,
    bench: Bench,
    config: TrainingConfig,
    after_step: Callable[[], None],
) -> TrainState:
    metric = primary_metric(artifact.recipe.task)
    return fit(
        new_state(model, config),
        bench.tensors,
        (bench.train_B, bench.validation_B),
        goal_of(artifact),
        config,
        score=lambda prediction, label: measure(metric, prediction, label),
        on_step=lambda _: after_step(),
        on_epoch=lambda _: None,
    )
