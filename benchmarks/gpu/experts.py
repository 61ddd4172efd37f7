"""A mixture of experts' step: the grouped product beside blocks, and beside a dense block.

As ``benchmarks/speed/experts.py``, larger and in bfloat16: 8 experts, 2 of them a token; the dense
block costs a token the same products.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.device import bf16, device, timed, versions, without
from benchmarks.speed.case import Case, Facts, Figure, Size

EXPERTS, CHOSEN = 8, 2
BLOCKS_BAR, DENSE_BAR = 1.0, 1.5


class Asked(NamedTuple):
    """Tokens, widths, and steps timed."""

    tokens: int
    width: int
    hidden: int
    steps: int


SIZES: dict[Size, Asked] = {
    "small": Asked(256, 16, 24, 2),
    "full": Asked(65_536, 1024, 1408, 20),
}


def stepped(asked: Asked, layer: Any, ask: Callable[[Any, Any], Any]) -> Facts:
    """Seconds of forward, backward and AdamW."""
    import torch

    layer = layer.to(device()).train()
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-4)
    tokens_ND = torch.randn(asked.tokens, asked.width, device=device())

    def step(at: int) -> None:  # noqa: ARG001 - every step has the same tokens
        optimizer.zero_grad()
        with bf16():
            loss = ask(layer, tokens_ND)
        loss.backward()
        optimizer.step()

    return {"step_s": timed(step, asked.steps), "versions": versions()}


def mixed(asked: Asked) -> Facts:
    """The mixture with its routing's losses, by whichever product is chosen."""
    import torch

    from nexus_model.layers.experts.balance import balance_loss, collect_routings, z_loss
    from nexus_model.layers.experts.layer import ExpertsConfig, MixtureOfExperts
    from nexus_model.layers.experts.product import product_call, select_product

    torch.manual_seed(0)
    told = ExpertsConfig(experts=EXPERTS, chosen=CHOSEN)
    layer = MixtureOfExperts(asked.width, asked.hidden, told, 0.1)

    def ask(layer: Any, tokens_ND: Any) -> Any:
        with collect_routings(layer) as routings:
            found_ND = layer(tokens_ND)
        losses = 1e-2 * balance_loss(routings[0]) + 1e-3 * z_loss(routings[0])
        return found_ND.float().square().mean() + losses

    facts = stepped(asked, layer, ask)
    with bf16():
        call = product_call(torch.zeros(1, asked.width, device=device()), layer.up_EDF)
    return facts | {"product": select_product(call)[0].name}


def chosen(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """By the product that suits the device."""
    return mixed(SIZES[size])


def blocks(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """By the blocks."""
    with without("grouped"):
        return mixed(SIZES[size])


def dense(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """One feed-forward block as wide as the chosen experts together."""
    import torch

    from nexus_model.layers.feed_forward import FeedForward

    torch.manual_seed(0)
    asked = SIZES[size]
    layer = FeedForward(asked.width, CHOSEN * asked.hidden, 0.1)
    return stepped(asked, layer, lambda layer, x: layer(x).float().square().mean())


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:  # noqa: ARG001 - wall time
    """No slower than blocks; at most half as much again as the dense block."""
    ours_s, name = parts["chosen"]["step_s"], parts["chosen"]["product"]
    said = f"{EXPERTS} experts, {CHOSEN} a token, product {name}, beside "
    blocks_s, dense_s = (parts[peer]["step_s"] for peer in ("blocks", "dense"))
    return [
        Figure(f"{said}blocks", ours_s, blocks_s, "s", "at_least", BLOCKS_BAR),
        Figure(f"{said}a dense block", ours_s, dense_s, "s", "at_most", DENSE_BAR),
    ]


CASE = Case(
    question="a mixture of experts' step",
    peer="blocks and copies of weights; a dense block of the same active products",
    packages=("torch",),
    parts={"chosen": chosen, "blocks": blocks, "dense": dense},
    judged=judged,
)
