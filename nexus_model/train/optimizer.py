"""Which rule moves which weight: decay is for matrices only (Loshchilov & Hutter 2019, AdamW).

Vectors of sub-words move faster: as if they were stored small and multiplied by the root of the
width (Vaswani et al. 2017, section 3.4).
"""

from typing import Any, TypeAlias, assert_never

import torch
from torch import nn

from nexus_model.encode.text_cells import WordVectors
from nexus_model.train.config import OptimizerName, TrainingConfig
from nexus_model.train.lion import Lion
from nexus_model.train.muon import Muon
from nexus_model.train.schedule_free import ScheduleFreeAdamW

NO_DECAY = (
    "bias", "missing", "start", "question", "cls", "slopes", "place", "frequency", "table",
    "score", "scale", "decay", "turn", "rate",
)  # fmt: skip
Weights: TypeAlias = list[nn.Parameter]


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Matrices decay; embeddings, norms and vectors do not; sub-words have a faster group of their
    own where there are any. What is Muon's comes first.

    What a table is called never decides.
    """
    lr, decay = config.peak_lr, config.weight_decay
    decays, stays, words = _parted(model)
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": decay},
        {"params": stays, "weight_decay": 0.0},
    ]
    if words:
        groups.append({"params": words, "weight_decay": 0.0, "factor": config.word_rate})
    match config.optimizer:
        case OptimizerName.ADAMW:
            return torch.optim.AdamW(groups, lr=lr)
        case OptimizerName.SGD:
            return torch.optim.SGD(groups, lr=lr, momentum=config.momentum)
        case OptimizerName.LION:
            return Lion(groups, lr)
        case OptimizerName.MUON:
            return Muon(_with_turned(model, groups), lr)
        case OptimizerName.SCHEDULE_FREE:
            return ScheduleFreeAdamW(groups, lr)
        case _ as unreachable:
            assert_never(unreachable)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the coming step; each group's own factor stays on it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)


def _parted(model: nn.Module) -> tuple[Weights, Weights, Weights]:
    decays, stays, words = Weights(), Weights(), Weights()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, WordVectors):
                words.append(parameter)
            elif (
                isinstance(module, nn.Embedding) or name.startswith(NO_DECAY) or parameter.ndim < 2
            ):
                stays.append(parameter)
            else:
                decays.append(parameter)
    return decays, stays, words


def _with_turned(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Linear maps inside the model, and stacks of them, are Muon's; first and last layers are not.

    A stack is a parameter of three dimensions whose name ends in two letters of widths.
    """
    last = {id(weight) for name, part in model.named_children() if name == "head"
            for weight in part.parameters()}  # fmt: skip
    turned = [
        parameter
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
        if id(parameter) not in last and _is_map(module, name, parameter)
    ]
    chosen = {id(weight) for weight in turned}
    matrices = [weight for weight in groups[0]["params"] if id(weight) not in chosen]
    decay = groups[0]["weight_decay"]
    return [
        {"params": turned, "weight_decay": decay, "orthogonal": True},
        {"params": matrices, "weight_decay": decay},
        *groups[1:],
    ]


def _is_map(module: nn.Module, name: str, parameter: nn.Parameter) -> bool:
    if min(parameter.shape, default=0) < 2:
        return False
    if parameter.ndim == 3:
        return name.endswith(("_EDF", "_EFD", "_QDD"))
    return isinstance(module, nn.Linear) and name == "weight"
