"""Where a training stands: everything the next epoch depends on, and its file.

The file is safetensors with one JSON string of metadata; it is for resuming, never for serving.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nexus_model.model import NexusFormer
from nexus_model.schema import TrainingError
from nexus_model.train.config import TrainingConfig
from nexus_model.train.engine import Engine, Single
from nexus_model.train.progress import EpochReport, Progress
from nexus_model.train.schedule_free import ScheduleFreeAdamW
from nexus_model.train.sharding import in_parts_as, whole

__all__ = [
    "EpochReport", "Progress", "TrainState", "TrainingConfig", "load_state", "save_state",
]  # fmt: skip


class TrainState:
    """Model, optimizer, averages, best weights so far (copies, never the live tensors), progress.

    ``averages`` are empty unless the configuration asks for them. ``engine`` knows how the model is
    trained together with other ranks; by default it is trained by this process alone.
    """

    def __init__(
        self,
        model: NexusFormer,
        optimizer: torch.optim.Optimizer,
        engine: Engine | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.engine = engine or Single(model)
        self.progress = Progress()
        self.averages: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}

    def average(self, decay: float, step: int) -> None:
        """Let the averages follow after a step counted from 0; early steps are forgotten sooner."""
        with torch.no_grad():
            warm = min(decay, (1 + step) / (10 + step))
            for name, weight in self.engine.trained.named_parameters():
                if name in self.averages:
                    self.averages[name].lerp_(weight, 1 - warm)
                else:
                    self.averages[name] = weight.detach().clone()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the model has the weights it would answer with: averages, where there are any."""
        self._agree_on_buffers()
        with self.engine.answering(self._answer):
            yield

    def _agree_on_buffers(self) -> None:
        """Running statistics become the mean of those of all ranks."""
        ranks = self.engine.ranks
        if ranks.world_size > 1:
            for buffer in self.engine.trained.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(ranks.summed(buffer) / ranks.world_size)

    def _answer(self, name: str, weight: Tensor) -> Tensor:
        if isinstance(self.optimizer, ScheduleFreeAdamW):
            return self.optimizer.average_of(weight)
        return self.averages.get(name, weight)

    def keep_best(self) -> None:
        """Copy the weights of the model."""
        self.best = {
            name: tensor.detach().to("cpu", copy=True)
            for name, tensor in self.model.state_dict().items()
        }

    def restore_best(self) -> None:
        """Put the best weights back into the model.

        Raises:
            TrainingError: no epoch gave a finite score.
        """
        if not self.best:
            raise TrainingError("no epoch gave a finite validation score")
        self.model.load_state_dict(self.best)


def save_state(path: Path, state: TrainState, config: TrainingConfig) -> None:
    """Write atomically: a kill leaves the former file or the new one, never half of one.

    Every rank has to call it; the first one writes. The file does not tell how many there were.
    """
    is_first = state.engine.ranks.is_first
    tensors: dict[str, Tensor] = {}
    for name, tensor in _tensors(state):
        full = whole(tensor.detach())
        if is_first:
            tensors[name] = full.cpu().contiguous()
    if not is_first:
        return
    told = {"progress": state.progress.model_dump_json(), "config": _settings(state, config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, {**told, "sha256": _digest(tensors)})
    partial.replace(path)


def _tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Everything that is kept, in one order on all ranks; some of it in parts."""
    for name, tensor in state.engine.trained.state_dict().items():
        yield f"model.{name}", tensor
    for name, tensor in state.best.items():
        yield f"best.{name}", tensor
    for name, tensor in state.averages.items():
        yield f"average.{name}", tensor
    for index, moments in state.optimizer.state_dict()["state"].items():
        for key, value in moments.items():
            if value is not None:
                yield f"optimizer.{index}.{key}", value


def _digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of names and values; safetensors itself notices only a damaged header."""
    seen = hashlib.sha256()
    for name in sorted(tensors):
        seen.update(name.encode())
        seen.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return seen.hexdigest()


def _settings(state: TrainState, config: TrainingConfig) -> str:
    """What a checkpoint must agree on to be continued: how is learned, and what."""
    model = state.model
    told = (config.model_dump_json(), model.config.model_dump_json())
    return "\n".join((*told, *model.path_names, *(f"also {name}" for name in model.also_names)))


def load_state(path: Path, state: TrainState, config: TrainingConfig) -> bool:
    """Continue from ``path`` if it is there, whole, and of the same configuration.

    Raises:
        TrainingError: not all ranks find the same there.
    """
    found = _loaded(path, state, config)
    epochs = state.engine.ranks.gathered(state.progress.next_epoch if found else -1)
    if len({*epochs}) > 1:
        raise TrainingError(
            f"ranks find different checkpoints at {path}: every machine needs the same folder"
        )
    return found


def _loaded(path: Path, state: TrainState, config: TrainingConfig) -> bool:
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as stored:
            told = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError:
        return False
    if told.get("config") != _settings(state, config) or told.get("sha256") != _digest(tensors):
        return False
    trained = state.engine.trained
    own, weights = trained.state_dict(), dict(trained.named_parameters())
    kept = _under("model.", tensors)
    trained.load_state_dict({name: in_parts_as(own[name], kept[name]) for name in kept})
    state.best = _under("best.", tensors)
    state.averages = {
        name: in_parts_as(weights[name], tensor).to(weights[name].device)
        for name, tensor in _under("average.", tensors).items()
    }
    moved = [weight for group in state.optimizer.param_groups for weight in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = in_parts_as(moved[int(index)], tensor)
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    state.progress = Progress.model_validate_json(told["progress"])
    return True


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
