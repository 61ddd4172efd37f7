"""What the model's taps tell while it trains and while it is validated.

B samples, Q state tokens, D width, E experts, N flattened tokens. Counts stay on the device until
an epoch's end.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nexus_model.encode.tabnet import collect_steps, sparsity_penalty
from nexus_model.exchange.refine import relative_change
from nexus_model.layers.experts.balance import (
    balance_loss,
    coefficient_of_variation,
    collect_routings_by_layer,
    expert_load,
    z_loss,
)
from nexus_model.layers.experts.layer import MixtureOfExperts
from nexus_model.layers.experts.router import Routing
from nexus_model.model import NexusFormer
from nexus_model.train.config import TrainingConfig
from nexus_model.train.devices import Ranks


class Overheard(NamedTuple):
    """What one call of a model passed by its taps."""

    routings: dict[str, list[Routing]]
    steps: list[Any]


@contextmanager
def overhearing(model: nn.Module) -> Iterator[Overheard]:
    """Collect routings by layer, and the steps of TabNet encoders."""
    with collect_routings_by_layer(model) as routings, collect_steps(model) as steps:
        yield Overheard(routings, steps)


def auxiliary_loss(heard: Overheard, config: TrainingConfig) -> Tensor | float:
    """Balance and z loss of every layer, averaged over its calls, and TabNet's sparsity."""
    total: Tensor | float = 0.0
    for calls in heard.routings.values():
        for routing in calls:
            balance, size = balance_loss(routing), z_loss(routing)
            total = total + (config.balance_weight * balance + config.z_weight * size) / len(calls)
    return total + sparsity_penalty(heard.steps) if heard.steps else total


class LoadCounts:
    """How many tokens each expert of each layer got."""

    def __init__(self) -> None:
        self.count_E: dict[str, Tensor] = {}

    def add(self, routings: Mapping[str, Sequence[Routing]]) -> None:
        """Count the choices of some calls."""
        with torch.no_grad():
            for name, calls in routings.items():
                for routing in calls:
                    chosen_E = expert_load(routing) * routing.expert_NJ.numel()
                    self.count_E[name] = chosen_E + self.count_E.get(name, 0)

    def of_all(self, model: NexusFormer, ranks: Ranks) -> "LoadCounts":
        """Summed over the ranks, which need not have called the same layers of ``model``."""
        if ranks.world_size == 1:
            return self
        found = LoadCounts()
        for name, layer in model.named_modules():
            if isinstance(layer, MixtureOfExperts):
                own_E = self.count_E.get(name, torch.zeros(len(layer.up_EDF)))
                count_E = ranks.summed(own_E)
                if count_E.any():
                    found.count_E[name] = count_E
        return found

    def shares(self) -> dict[str, tuple[float, ...]]:
        """Share of all choices per expert, by layer."""
        return {
            name: tuple((count_E / count_E.sum().clamp(min=1)).tolist())
            for name, count_E in self.count_E.items()
        }


def load_variation(load: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Coefficient of variation of each layer's load: 0 if all experts are equally busy.

    >>> load_variation({"layer": (0.5, 0.5, 0.0, 0.0)})
    {'layer': 1.0}
    """
    return {
        name: float(coefficient_of_variation(torch.tensor(shares, dtype=torch.float64)))
        for name, shares in load.items()
    }


class Refined:
    """Cycles each sample used, and how much each cycle changed the state, relative."""

    def __init__(self, cycles: int) -> None:
        self.used: list[Tensor] = []
        self.changes: list[list[Tensor]] = [[] for _ in range(cycles)]
        self.at = 0

    def cycles(self, ranks: Ranks) -> float | None:
        """Mean over the samples of all ranks; None if there were none."""
        return ranks.mean(self.used)

    def change(self, ranks: Ranks) -> tuple[float, ...]:
        """Mean over the samples of all ranks, cycle by cycle."""
        found = [ranks.mean(part) for part in self.changes]
        return tuple(mean for mean in found if mean is not None)


@contextmanager
def watching_refinement(model: NexusFormer) -> Iterator[Refined]:
    """Watch what the refinement does meanwhile; let go on exit."""
    found = Refined(model.config.refinement.cycles)

    def entered(_module: nn.Module, _args: object) -> None:
        found.at = 0

    def cycled(_module: nn.Module, args: Any, after: Any) -> None:
        if found.at == len(found.changes):
            found.changes.append([])
        found.changes[found.at].append(relative_change(after.state_BQD, args[0].state_BQD))
        found.at += 1

    def ended(_tap: nn.Module, _args: object, used_B: Tensor) -> None:
        found.used.append(used_B)

    refine = model.refine
    hooks = [refine.register_forward_pre_hook(entered)]
    hooks += [block.register_forward_hook(cycled) for block in refine.blocks]
    hooks.append(refine.tap_cycles.register_forward_hook(ended))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
