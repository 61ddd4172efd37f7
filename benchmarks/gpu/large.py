"""A large NexusFormer's training step, as a share of what matrix products reach on this very GPU.

The peak is the best of some square products in bfloat16, measured in the same run. Of the step,
matrix products and attention are counted, forward and backward, as torch runs them; forward,
backward, clipping and AdamW are timed. The batch is halved until it fits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.device import bf16, device, timed, versions
from benchmarks.speed.case import Case, Facts, Figure, Size

BAR = 0.4
TERA = 1e12


class Asked(NamedTuple):
    """Sides of the products; the shop, the model, the first batch tried, and steps timed."""

    sides: tuple[int, ...]
    customers: int
    width: int
    heads: int
    blocks: int
    samples: int
    steps: int


SIZES: dict[Size, Asked] = {
    "small": Asked((64, 128), 60, 16, 2, 1, 8, 2),
    "full": Asked((4096, 8192, 16_384), 4000, 2048, 16, 3, 1024, 10),
}


def matrix_peak(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The best of some products, in 10¹² operations a second."""
    import torch

    rates = {}
    for side in SIZES[size].sides:
        one = torch.randn(side, side, device=device(), dtype=torch.bfloat16)
        other, out = one.t().contiguous(), torch.empty_like(one)
        seconds = timed(lambda _at: torch.mm(one, other, out=out), 20)  # noqa: B023 - at once
        rates[str(side)] = 2 * side**3 / seconds / TERA
    return {"teraflops": max(rates.values()), "by_side": rates, "versions": versions()}


def model_and_batch(asked: Asked, samples: int) -> tuple[Any, Any]:
    """A NexusFormer over the generated shop, and that many of its samples."""
    import numpy as np
    import torch

    from benchmarks.shop.database import shop_task
    from nexus_model.config import NexusConfig
    from nexus_model.encode.choose import FTTransformerConfig, TableConfig
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.batch import build_batch
    from nexus_model.tokenize.move import moved
    from nexus_pipeline.generate.parts import ShopParts

    torch.manual_seed(0)
    shop = shop_task(asked.customers, 0, ShopParts())
    chosen = FTTransformerConfig(blocks=asked.blocks, heads=asked.heads)
    names = [table.table for table in shop.tokenizer.tables]
    config = NexusConfig(
        width=asked.width,
        heads=asked.heads,
        tables={name: TableConfig(encoder=chosen) for name in names},
    )
    with device():
        model = NexusFormer(config, shop.tokenizer, shop.recipe.paths, shop.recipe.task)
    order_B = np.random.default_rng(0).permutation(shop.samples("train"))
    batch = build_batch(shop.tensors, order_B[:samples], config.parent_hops)
    return model.to(device()).train(), moved(batch, device())


def stepped(asked: Asked, samples: int) -> Facts:
    """Products of a step, counted, and the seconds it takes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model, batch = model_and_batch(asked, samples)
    optimizer = torch.optim.AdamW(
        model.parameters(), 1e-4, fused=True if torch.cuda.is_available() else None
    )

    def step(at: int) -> None:  # noqa: ARG001 - every step has the same batch
        optimizer.zero_grad()
        with bf16():
            raw_BY = model(batch)
        raw_BY.float().square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    with FlopCounterMode(display=False) as counted:
        step(0)
    operations, seconds = counted.get_total_flops(), timed(step, asked.steps)
    return {
        "samples": batch.samples,
        "rows": sum(len(rows.ids_R) for rows in batch.tables.values()),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "step_s": seconds,
        "operations": operations,
        "versions": versions(),
    }


def step(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The largest batch that fits, of the first tried and its halves."""
    import gc

    import torch

    asked = SIZES[size]
    samples = asked.samples
    while True:
        try:
            return stepped(asked, samples)
        except torch.OutOfMemoryError:
            if samples < 2:
                raise
        samples //= 2
        gc.collect()
        torch.cuda.empty_cache()


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:  # noqa: ARG001 - wall time
    """Two fifths of the peak."""
    found, peak = parts["step"], parts["matrix_peak"]["teraflops"]
    at_peak = found["operations"] / peak / TERA
    said = f"a step of {found['parameters'] / 1e6:,.0f} million weights beside its products at peak"
    return [Figure(said, found["step_s"], at_peak, "s", "at_least", BAR)]


CASE = Case(
    question="a large configuration's training step",
    peer="the best matrix product measured in the same run",
    packages=("torch",),
    parts={"matrix_peak": matrix_peak, "step": step},
    judged=judged,
)
