"""Where a training stands: everything the next epoch depends on, and its file.

The file is safetensors with one JSON string of metadata; it is for resuming, never for serving.
"""

from pathlib import Path

import torch
from pydantic import ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nexus_model.model import NexusFormer
from nexus_model.schema import Record, TrainingError


class TrainingConfig(Record):
    """How the weights are found."""

    batch_size: int = Field(256, gt=0, description="samples")
    epochs: int = Field(20, gt=0)
    patience: int = Field(4, gt=0, description="epochs without a better score")
    gradient_clipping: float = Field(1.0, gt=0, description="largest gradient norm")
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    warmup_steps: int = Field(100, ge=0)
    seed: int = Field(0, ge=0)


class EpochReport(Record):
    """One epoch: mean training loss, validation score, and whether it is the best so far."""

    # A score may be NaN, as that of a single class; JSON must give it back.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    epoch: int
    loss: float
    score: float
    best: bool
    gradient_norm: float


class Progress(Record):
    """What is told between epochs."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    next_epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    curve: tuple[EpochReport, ...] = ()

    def stopped(self, config: TrainingConfig) -> str | None:
        """Why training is over, or None."""
        if self.next_epoch >= config.epochs:
            return "all epochs done"
        if self.best_epoch is not None and self.next_epoch - self.best_epoch > config.patience:
            return f"no better score for {config.patience} epochs"
        return None


class TrainState:
    """Model, optimizer, best weights so far (copies, never the live tensors) and progress."""

    def __init__(self, model: NexusFormer, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}

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
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    told = {"progress": state.progress.model_dump_json(), "config": _settings(state, config)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, told)
    partial.replace(path)


def _settings(state: TrainState, config: TrainingConfig) -> str:
    """What a checkpoint must agree on to be continued: how is learned, and what."""
    model = state.model
    return "\n".join((config.model_dump_json(), model.config.model_dump_json(), *model.path_names))


def load_state(path: Path, state: TrainState, config: TrainingConfig) -> bool:
    """Continue from ``path`` if it is there and was written under the same configuration."""
    if not path.is_file():
        return False
    with safe_open(path, framework="pt") as stored:
        told = stored.metadata()
        if told.get("config") != _settings(state, config):
            return False
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    state.model.load_state_dict(_under("model.", tensors))
    state.best = _under("best.", tensors)
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
