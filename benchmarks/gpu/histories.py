"""A training step on skewed histories: rows without padding beside padded rows.

Both are the library's history encoder with rotary positions, in bfloat16, on the same batches; the
peer's packed kernels are left out, so that histories are padded to the longest of the batch and
torch's fused attention gets the mask. A step is forward, backward and AdamW.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.device import PACKED, bf16, device, timed, versions, without
from benchmarks.speed.case import Case, Facts, Figure, Size

BAR = 3.0
BATCHES = 4


class Histories(NamedTuple):
    """Samples of a batch, rows of the usual and the longest history; the encoder; steps timed."""

    samples: int
    usual: int
    longest: int
    width: int
    heads: int
    blocks: int
    steps: int


SIZES: dict[Size, Histories] = {
    "small": Histories(6, 4, 48, 32, 2, 2, 2),
    "full": Histories(64, 128, 2048, 512, 8, 4, 20),
}


def lengths(asked: Histories, seed: int) -> Any:
    """Rows of each history of a batch: lognormal, one of them the longest there is.

    >>> lengths(SIZES["small"], 0).max()
    np.int64(48)
    """
    import numpy as np

    drawn = np.random.default_rng(seed).lognormal(0.0, 1.5, asked.samples) * asked.usual
    rows_B = np.clip(drawn.astype(np.int64), 1, asked.longest)
    rows_B[0] = asked.longest
    return rows_B


def batch(asked: Histories, seed: int) -> tuple[Any, Any, Any]:
    """Rows, ages and which of them are there."""
    import torch

    made = torch.Generator().manual_seed(seed)
    rows_B = torch.from_numpy(lengths(asked, seed))
    steps = int(rows_B.max())
    rows_BLD = torch.randn(asked.samples, steps, asked.width, generator=made)
    age_BL = torch.rand(asked.samples, steps, generator=made) * 900
    keep_BL = torch.arange(steps) < rows_B[:, None]
    age_BL = age_BL.sort(dim=1, descending=True).values
    return tuple(part.to(device()) for part in (rows_BLD, age_BL, keep_BL))


def encoder(asked: Histories) -> Any:
    """The same weights in every part."""
    import torch

    from nexus_model.encode.time_series import TimeSeriesConfig, TimeSeriesEncoder
    from nexus_model.layers.positions.rotary import RotaryConfig

    torch.manual_seed(0)
    config = TimeSeriesConfig(heads=asked.heads, blocks=asked.blocks, position=RotaryConfig())
    found = TimeSeriesEncoder(asked.width, config, 0.1)
    with torch.no_grad():
        for weight in found.parameters():
            if not weight.any():
                weight.normal_(std=0.02)  # what starts at zero would hide what comes before it
    return found.to(device())


def stepped(asked: Histories) -> Facts:
    """Seconds of a step, over batches of different lengths in turn."""
    import torch

    model = encoder(asked).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    given = [batch(asked, seed) for seed in range(BATCHES)]

    def step(at: int) -> None:
        optimizer.zero_grad()
        with bf16():
            found_BLD = model(*given[at % BATCHES])
        found_BLD.float().square().mean().backward()
        optimizer.step()

    rows = sum(int(keep_BL.sum()) for _, _, keep_BL in given)
    places = sum(keep_BL.numel() for _, _, keep_BL in given)
    return {
        "step_s": timed(step, asked.steps),
        "padding_share": 1 - rows / places,
        "packed": chosen(model, given[0][0]),
        "versions": versions(),
    }


def chosen(model: Any, rows_BLD: Any) -> bool:
    """Whether the encoder leaves the padding out here."""
    with bf16():
        return bool(model.packs(rows_BLD))


def unpadded(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """By the kernels that are there."""
    return stepped(SIZES[size])


def padded(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The peer, and how far its answers are from ours."""
    import torch

    asked = SIZES[size]
    model, given = encoder(asked).eval(), batch(asked, 0)
    with torch.no_grad(), bf16():
        ours_BLD = model(*given)
        with without(*PACKED):
            theirs_BLD = model(*given)
    apart = (ours_BLD.float() - theirs_BLD.float()).norm() / theirs_BLD.float().norm()
    with without(*PACKED):
        return stepped(asked) | {"answers_apart_by": float(apart)}


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:  # noqa: ARG001 - wall time
    """Three times as fast."""
    ours, theirs = parts["unpadded"], parts["padded"]
    said = f"a step on histories of which {theirs['padding_share']:.0%} would be padding"
    return [Figure(said, ours["step_s"], theirs["step_s"], "s", "at_least", BAR)]


CASE = Case(
    question="training on skewed histories",
    peer="the same encoder on padded histories, torch's fused attention with a mask",
    packages=("torch",),
    parts={"unpadded": unpadded, "padded": padded},
    judged=judged,
)
