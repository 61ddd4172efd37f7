"""Unstructured pruning: the weights with the lowest scores of all matrices together become zero.

Magnitude as in Han et al. 2015, section 3.1; movement ``-w dL/dw`` as in Sanh et al. 2020, eq. 4;
Wanda ``|w| ||x||`` within an output as in Sun et al. 2024, eq. 1. DIFFERS: movement is added up
over a pass in which weights stand still; Wanda's scores are ranks within an output, so that one
threshold for all matrices prunes every output alike.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from nexus_model.optimize.int8 import stays_float
from nexus_model.optimize.methods import Criterion
from nexus_model.tokenize.batch import RelBatch

Scores = dict[str, Tensor]


def prunable(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the matrices that are pruned: not the head's, no router's."""
    return [
        name
        for name, tensor in state.items()
        if tensor.is_floating_point()
        and tensor.ndim == 2
        and tensor.shape[0] > 1
        and not stays_float(name)
    ]


def prune(state: Mapping[str, Tensor], scores: Scores, amount: float) -> dict[str, Tensor]:
    """The state with the ``amount`` of all scored weights that score least set to zero, exactly.

    >>> state = {"a": torch.tensor([[1.0, -4.0]]), "b": torch.tensor([[2.0, 3.0]])}
    >>> prune(state, {name: w.abs() for name, w in state.items()}, 0.5)["a"]
    tensor([[ 0., -4.]])

    Raises:
        ValueError: the amount is no share, or a score is not finite.
    """
    if not 0 <= amount < 1:
        raise ValueError(f"amount must be at least 0 and under 1, got {amount}")
    every = torch.cat([score.flatten().float() for score in scores.values()])
    if not torch.isfinite(every).all():
        raise ValueError("scores must be finite to prune by them")
    gone = torch.zeros(len(every), dtype=torch.bool)
    gone[every.topk(round(amount * len(every)), largest=False).indices] = True
    pruned = {name: tensor.detach().clone() for name, tensor in state.items()}
    sizes = [score.numel() for score in scores.values()]
    for name, part in zip(scores, gone.split(sizes), strict=True):
        pruned[name][part.view_as(pruned[name])] = 0
    return pruned


def share_left(state: Mapping[str, Tensor]) -> float:
    """Share of the prunable weights that are not zero."""
    matrices = [state[name] for name in prunable(state)]
    total = sum(matrix.numel() for matrix in matrices)
    return sum(int(matrix.count_nonzero()) for matrix in matrices) / max(1, total)


def still_scores(state: Mapping[str, Tensor], criterion: Criterion, seed: int = 0) -> Scores:
    """Scores that need no samples.

    Raises:
        ValueError: the criterion looks at samples.
    """
    if criterion.needs_samples:
        raise ValueError(f"criterion {criterion.value} needs samples of the task")
    drawn = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(state[name].shape, generator=drawn)
        if criterion is Criterion.RANDOM
        else state[name].abs()
        for name in prunable(state)
    }


def movement_scores(
    model: nn.Module, batches: Iterable[RelBatch], loss: Callable[[Tensor, Tensor], Tensor]
) -> Scores:
    """``-w dL/dw`` over the batches: what grows away from zero scores high.

    ``loss`` takes raw outputs and labels. The model's gradients are gone afterwards.
    """
    model.eval().zero_grad(set_to_none=True)
    for batch in batches:
        loss(model(batch), batch.label_B).backward()
    state = dict(model.named_parameters())
    found = {}
    for name in prunable(state):
        weight, slope = state[name].detach(), state[name].grad
        found[name] = torch.zeros_like(weight) if slope is None else -weight * slope
    model.zero_grad(set_to_none=True)
    return found


def wanda_scores(model: nn.Module, batches: Iterable[RelBatch]) -> Scores:
    """Rank within its output of a weight times the norm of what it multiplies, between 0 and 1."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(_adding(name, seen))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    with torch.no_grad():
        for batch in batches:
            model.eval()(batch)
    for hook in hooks:
        hook.remove()
    state, found = dict(model.named_parameters()), {}
    for name in prunable(state):
        size = state[name].detach().abs()
        read = seen.get(name.removesuffix(".weight"))
        size = size if read is None else size * read.sqrt()
        found[name] = size.argsort(dim=1).argsort(dim=1) / size.shape[1]
    return found


def _adding(name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Tensor]], None]:
    def add(_: nn.Module, inputs: tuple[Tensor]) -> None:
        squares = inputs[0].detach().flatten(0, -2).square().sum(0)
        seen[name] = seen[name] + squares if name in seen else squares

    return add
