"""One step of a mixture of 8 experts, 2 of them a token, beside a dense block of as much work.

The peer is our own feed-forward block, twice as wide as an expert: a token costs the same products
in both. A step is forward, backward with the routing's losses, and AdamW over all weights, of which
the mixture has four times as many.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.speed.case import Case, Facts, Figure, Size
from benchmarks.speed.encoder import stepped

TOKENS, WIDTH, HIDDEN, EXPERTS, CHOSEN = 16_384, 192, 256, 8, 2
STEPS: dict[Size, int] = {"small": 3, "full": 20}
BAR = 1.5


def mixture(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The sparse mixture, its losses included."""
    import torch

    from nexus_model.layers.experts.balance import balance_loss, collect_routings, z_loss
    from nexus_model.layers.experts.layer import ExpertsConfig, MixtureOfExperts

    torch.manual_seed(0)
    layer = MixtureOfExperts(WIDTH, HIDDEN, ExpertsConfig(experts=EXPERTS, chosen=CHOSEN), 0.1)
    tokens_ND = torch.randn(TOKENS, WIDTH)

    def ask() -> Any:
        with collect_routings(layer) as routings:
            found_ND = layer(tokens_ND)
        told = 1e-2 * balance_loss(routings[0]) + 1e-3 * z_loss(routings[0])
        return found_ND + told.sqrt()

    return stepped(layer, ask, STEPS[size])


def dense(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The dense block."""
    import torch

    from nexus_model.layers.feed_forward import FeedForward

    torch.manual_seed(0)
    layer = FeedForward(WIDTH, CHOSEN * HIDDEN, 0.1)
    tokens_ND = torch.randn(TOKENS, WIDTH)
    return stepped(layer, lambda: layer(tokens_ND), STEPS[size])


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:
    """At most half as much again."""
    step = f"step_{by}"
    ours, other = parts["mixture"][step], parts["dense"][step]
    told = f"{EXPERTS} experts, {CHOSEN} a token ({by})"
    return [Figure(told, ours, other, "s", "at_most", BAR)]


CASE = Case(
    question="a mixture of experts' step",
    peer="a dense block of the same active products",
    packages=("torch",),
    parts={"mixture": mixture, "dense": dense},
    judged=judged,
)
