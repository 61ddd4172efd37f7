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
from nexus_model.train.progress import EpochReport, Progress
from nexus_model.train.schedule_free import ScheduleFreeAdamW

__all__ = [
    "EpochReport", "Progress", "TrainState", "TrainingConfig", "load_state", "save_state",
]  # fmt: skip


class TrainState:
    """Model, optimizer, averages, best weights so far (copies, never the live tensors), progress.

    ``averages`` are empty unless the configuration asks for them.
    """

    def __init__(self, model: NexusFormer, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.progress = Progress()
        self.averages: dict[str, Tensor] = {}
        self.best: dict[str, Tensor] = {}

    def average(self, decay: float, step: int) -> None:
        """Let the averages follow after a step counted from 0; early steps are forgotten sooner."""
        with torch.no_grad():
            warm = min(decay, (1 + step) / (10 + step))
            for name, weight in self.model.named_parameters():
                if name in self.averages:
                    self.averages[name].lerp_(weight, 1 - warm)
                else:
                    self.averages[name] = weight.detach().clone()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, the model has the weights it would answer with: averages, where there are any."""
        held: list[tuple[Tensor, Tensor]] = []
        for name, weight in self.model.named_parameters():
            answer = self._answer(name, weight)
            if answer is not weight:
                held.append((weight, weight.detach().clone()))
                weight.data.copy_(answer)
        try:
            yield
        finally:
            for weight, trained in held:
                weight.data.copy_(trained)

    def _answer(self, name: str, weight: Tensor) -> Tensor:
        if isinstance(self.optimizer, ScheduleFreeAdamW):
            return self.optimizer.average_of(weight)
        return self.averages.get(name, weight)

    def keep_best(self) -> None:
        """Copy the live weights."""
        self.best = {
            name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()
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
    """Write atomically: a kill leaves the former file or the new one, never half of one."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.averages.items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        known = {key: value for key, value in moments.items() if value is not None}
        tensors |= {f"optimizer.{index}.{key}": value for key, value in known.items()}
    told = {"progress": state.progress.model_dump_json(), "config": _settings(state, config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    tensors = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, partial, {**told, "sha256": _digest(tensors)})
    partial.replace(path)


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
    return "\n".join((config.model_dump_json(), model.config.model_dump_json(), *model.path_names))


def load_state(path: Path, state: TrainState, config: TrainingConfig) -> bool:
    """Continue from ``path`` if it is there, whole, and of the same configuration."""
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
    state.model.load_state_dict(_under("model.", tensors))
    state.best = _under("best.", tensors)
    state.averages = _under("average.", tensors)
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        index, key = name.split(".")
        moments.setdefault(int(index), {})[key] = tensor
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
