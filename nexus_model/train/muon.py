"""Muon: matrices step along the nearest orthogonal matrix to their momentum, the rest as in AdamW.

Jordan et al. 2024 (Muon: an optimizer for hidden layers), with Nesterov momentum and five
Newton-Schulz iterations; steps are scaled to the size of AdamW's by ``0.2 sqrt(larger side)`` (Liu
et al. 2025, Muon is Scalable, equation 4), so that one learning rate serves both kinds of weights.
DIFFERS: iterates in the precision of the weights, not in bfloat16. A stack of matrices, such as the
weights of experts, is orthogonalised matrix by matrix.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from nexus_model.train.sharding import in_parts_as, whole

QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalized(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Singular values brought near one, directions kept; the last two dimensions are the matrix's.

    >>> bool((orthogonalized(torch.diag(torch.tensor([3.0, 1.0]))).diagonal() > 0.6).all())
    True
    """
    a, b, c = QUINTIC
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Groups say ``"orthogonal": True`` for stacks of matrices; the others take AdamW's steps."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        own = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": 0.0}
        super().__init__(groups, own | {"orthogonal": False})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # noqa: ARG002
        """One step; weights without gradient stay."""
        with torch.no_grad():
            for group in self.param_groups:
                move = self._turn if group["orthogonal"] else self._adapt
                for weight in group["params"]:
                    if weight.grad is not None:
                        weight.mul_(1 - group["lr"] * group["weight_decay"])
                        weight.sub_(move(weight, weight.grad, group), alpha=group["lr"])

    def _turn(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        momentum.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(momentum, group["momentum"])
        # Of a weight in parts every rank turns the whole: gathered once, not in every product.
        turned = in_parts_as(weight, orthogonalized(whole(ahead)))
        return turned * (0.2 * max(weight.shape[-2:]) ** 0.5)

    def _adapt(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[weight]
        if not state:
            state |= {"mean": torch.zeros_like(weight), "square": torch.zeros_like(weight)}
            state["step"] = torch.zeros((), dtype=torch.float64)
        near, far = group["betas"]
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - near)
        state["square"].lerp_(gradient.square(), 1 - far)
        mean = state["mean"] / (1 - near ** float(state["step"]))
        square = state["square"] / (1 - far ** float(state["step"]))
        return mean / square.sqrt().add_(group["eps"])
