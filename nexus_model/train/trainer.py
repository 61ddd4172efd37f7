"""NexusFlowTrainer: loaders in, best model out, smaller if asked for."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

from safetensors.torch import save
from torch import Tensor

from nexus_model.model import NexusFormer
from nexus_model.optimize.int8 import dequantize_weights, quantize_weights, stays_float
from nexus_model.schema import Record, TrainingError
from nexus_model.train.config import Strategy, TrainingConfig
from nexus_model.train.devices import Ranks, joined
from nexus_model.train.loader import Array, NexusLoader
from nexus_model.train.loop import StepReport, fit_loader, new_state
from nexus_model.train.losses import check_answers
from nexus_model.train.state import Progress, TrainState
from nexus_model.train.validation import mean_loss, predict_shares

__all__ = ["Candidate", "NexusFlowTrainer", "Optimization", "mean_loss"]

MB = 1_000_000


class Candidate(Record):
    """A form of the weights: its bytes when stored, and its validation loss."""

    form: Literal["float32", "int8"]
    size_bytes: int
    loss: float


class Optimization(Record):
    """Which form of the weights was taken, out of which, and whether it is as small as asked."""

    taken: Candidate
    candidates: tuple[Candidate, ...]
    target_size_mb: float | None
    reached: bool
    said: str


class NexusFlowTrainer:
    """Trains one model; ``train`` may be called again and starts from the weights as they are then.

    ``config`` is a TrainingConfig or a mapping of its keys; ``changed`` takes precedence over it,
    and so do ``patience`` and ``convergence_threshold``. Without early stopping neither counts.
    ``score`` takes predictions and labels of the validation samples and is better as the loader's
    goal says; unset, it is the validation loss, less being better.

    In a script that torchrun started, every process trains its share of each batch and returns the
    same model; ``strategy`` says what each of them holds meanwhile.
    """

    def __init__(
        self,
        model: NexusFormer,
        config: TrainingConfig | Mapping[str, Any] | None = None,
        *,
        use_early_stopping: bool = True,
        patience: int = 7,
        convergence_threshold: float | None = 1e-6,
        score: Callable[[Array, Array], float] | None = None,
        on_step: Callable[[StepReport], None] | None = None,
        strategy: Strategy | str = Strategy.DDP,
        **changed: Any,
    ) -> None:
        given = config.model_dump() if isinstance(config, TrainingConfig) else dict(config or {})
        chosen = TrainingConfig(**(given | changed))
        stopping: dict[str, Any] = {"patience": chosen.epochs, "convergence_threshold": None}
        if use_early_stopping:
            stopping = {"patience": patience, "convergence_threshold": convergence_threshold}
        self.config = TrainingConfig(**(chosen.model_dump() | stopping))
        self.model, self.score, self.strategy = model, score, Strategy(strategy)
        self.on_step = on_step or (lambda _step: None)
        self.progress = Progress()
        self.stopped_because: str | None = None

    def train(
        self,
        train_loader: NexusLoader,
        val_loader: NexusLoader,
        auto_optimize: Literal["quantization"] | None = None,
        target_size_mb: float | None = None,
    ) -> NexusFormer:
        """The best model by validation; if asked for as INT8, with ``.optimization`` telling sizes.

        The batch size is the loaders'. INT8 weights are the values that INT8 would give, in a
        model of float32: it is storing them that takes less room.

        Raises:
            TrainingError: the loaders do not belong to this model, are empty, or a loss is not
                finite.
            ValueError: ``auto_optimize`` is unknown, or the target is not positive.
        """
        if auto_optimize not in {None, "quantization"}:
            raise ValueError(f"auto_optimize must be 'quantization' or None, got {auto_optimize!r}")
        if target_size_mb is not None and target_size_mb <= 0:
            raise ValueError(f"target_size_mb must be positive, got {target_size_mb}")
        self._check(train_loader, val_loader)
        goal = train_loader.goal
        if self.score is None:
            goal = goal.model_copy(update={"higher_is_better": False})
        loader = copy.copy(train_loader)
        loader.goal, loader.seed = goal, self.config.seed
        config = self.config.model_copy(update={"batch_size": loader.batch_size})
        ranks = joined(self.strategy)
        state = new_state(self.model, config, ranks)
        fit_loader(
            state, loader, lambda model: self._validate(model, val_loader, ranks), config,
            self.on_step, self._note,
        )  # fmt: skip
        self.stopped_because = state.progress.stopped(config)
        self.model.eval()
        if auto_optimize or target_size_mb is not None:
            found = self._optimized(val_loader, auto_optimize, target_size_mb)
            self.model.optimization = found
        return self.model

    def _check(self, *loaders: NexusLoader) -> None:
        for loader in loaders:
            if not len(loader):
                raise TrainingError(f"task {loader.goal.task.name}: a loader has no samples")
            check_answers(self.model, loader.tensors, loader.goal)
            paths = tuple(path.name for path in loader.tensors.paths)
            if paths != self.model.path_names:
                raise TrainingError(f"the loader's paths are {paths}, the model's are others")
            hops = self.model.config.parent_hops
            if loader.model.cohort != self.model.config.cohort:
                raise TrainingError(
                    "a model that reads cohorts needs a loader that keeps them whole, and no other "
                    "does: NexusLoader(..., model=model.config)"
                )
            if loader.model.parent_hops < hops:
                raise TrainingError(
                    f"the model reads parents {hops} foreign keys up, its loader follows "
                    f"{loader.model.parent_hops}"
                )

    def _note(self, state: TrainState) -> None:
        self.progress = state.progress

    def _validate(self, model: NexusFormer, loader: NexusLoader, ranks: Ranks) -> float:
        if self.score is None:
            return mean_loss(model, loader, self.config, ranks)
        found = predict_shares(model, loader.tensors, loader.chosen_B, loader.goal, ranks)
        return self.score(found, loader.tensors.label_B[loader.chosen_B])

    def _optimized(
        self, loader: NexusLoader, auto_optimize: str | None, target_size_mb: float | None
    ) -> Optimization:
        exact = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        found = [self._candidate("float32", exact, loader)]
        if auto_optimize == "quantization":
            packed = quantize_weights(exact, keep=stays_float)
            self.model.load_state_dict(dequantize_weights(packed))
            found.append(self._candidate("int8", packed, loader))
        taken = found[-1]
        reached = target_size_mb is None or taken.size_bytes <= target_size_mb * MB
        return Optimization(
            taken=taken,
            candidates=tuple(found),
            target_size_mb=target_size_mb,
            reached=reached,
            said=_said(found, target_size_mb),
        )

    def _candidate(
        self, form: Literal["float32", "int8"], stored: dict[str, Tensor], loader: NexusLoader
    ) -> Candidate:
        size = len(save({name: tensor.contiguous() for name, tensor in stored.items()}))
        loss = mean_loss(self.model, loader, self.config)
        return Candidate(form=form, size_bytes=size, loss=loss)


def _said(candidates: list[Candidate], target_size_mb: float | None) -> str:
    first, taken = candidates[0], candidates[-1]
    sizes = f"{taken.form}: {taken.size_bytes / MB:.3f} MB at loss {taken.loss:.4f}"
    if target_size_mb is None:
        return sizes
    if taken.size_bytes > target_size_mb * MB:
        least = min(candidates, key=lambda candidate: candidate.size_bytes)
        return (
            f"not reachable: smallest was {least.size_bytes / MB:.3f} MB at loss {least.loss:.4f}"
        )
    met = first is not taken and first.size_bytes <= target_size_mb * MB
    return f"{sizes}; float32 had met the target already" if met else sizes
