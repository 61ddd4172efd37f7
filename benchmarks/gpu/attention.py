"""Fused attention beside its formula: time, the longest history in the same memory, growth.

Both get the same queries, keys and values in bfloat16, one history, and give all three gradients.
The formula is the library's reference. Memory is what torch's allocator held at most, inputs
included; growth is of what is held beside the inputs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.device import device, held, timed, versions
from benchmarks.speed.case import Case, Facts, Figure, Size

FASTER, LONGER, SLOPE = 3.0, 10.0, 1.15


class Asked(NamedTuple):
    """Rows of the history at which both are timed; the most that the fused one is tried with."""

    rows: int
    most: int
    heads: int
    width: int
    steps: int


SIZES: dict[Size, Asked] = {
    "small": Asked(256, 4096, 2, 16, 2),
    "full": Asked(8192, 131_072, 8, 64, 10),
}


def inputs(asked: Asked, rows: int) -> list[Any]:
    """Queries, keys and values ``[1, H, rows, W]`` in bfloat16."""
    import torch

    torch.manual_seed(0)
    shape = (1, asked.heads, rows, asked.width)
    return [
        torch.randn(shape, device=device(), dtype=torch.bfloat16).requires_grad_() for _ in range(3)
    ]


def backend() -> Any:
    """The one that is chosen for packed histories."""
    import torch

    from nexus_model.layers.attention.call import AttentionCall
    from nexus_model.layers.attention.select import select

    call = AttentionCall(torch.bfloat16, device().type, 64, has_bias=False, mask="segments")
    return select(call)[0]


def fused(qkv: list[Any]) -> None:
    """Forward and backward by the chosen backend."""
    import torch

    from nexus_model.layers.attention.keep import Segments
    from nexus_model.layers.attention.select import is_packed

    chosen, rows = backend(), qkv[0].shape[2]
    starts = torch.tensor([0, rows], dtype=torch.int32, device=qkv[0].device)
    # One whole history: a kernel that is not for packed ones is not made to mask it.
    keep = Segments(starts, rows, rows) if is_packed(chosen) else None
    differentiated(chosen.attend(*qkv, keep), qkv)


def formula(qkv: list[Any]) -> None:
    """Forward and backward by the formula."""
    from nexus_model.layers.attention.reference import ReferenceAttention

    differentiated(ReferenceAttention().attend(*qkv, None), qkv)


def differentiated(found: Any, qkv: list[Any]) -> None:
    """All three gradients."""
    import torch

    torch.autograd.grad(found, qkv, found.detach())


def by_formula(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """The peer."""
    asked = SIZES[size]
    qkv = inputs(asked, asked.rows)
    return {
        "rows": asked.rows,
        "seconds": timed(lambda _at: formula(qkv), asked.steps),
        "bytes": held(lambda: formula(qkv)) + of_inputs(qkv),
        "versions": versions(),
    }


def by_kernel(folder: Path, size: Size) -> Facts:  # noqa: ARG001 - parts are called alike
    """Ours, at that length and at each twice as long as the one before."""
    asked = SIZES[size]
    qkv = inputs(asked, asked.rows)
    seconds = timed(lambda _at: fused(qkv), asked.steps)
    tried, extra, whole = [], [], []
    rows = asked.rows // 4
    while rows <= asked.most:
        qkv = inputs(asked, rows)
        extra.append(held(lambda: fused(qkv)))  # noqa: B023 - called at once
        whole.append(extra[-1] + of_inputs(qkv))
        tried.append(rows)
        rows *= 2
    return {
        "backend": backend().name,
        "seconds": seconds,
        "rows": tried,
        "extra_bytes": extra,
        "bytes": whole,
        "versions": versions(),
    }


def of_inputs(qkv: list[Any]) -> int:
    """Bytes of the three."""
    return sum(part.numel() * part.element_size() for part in qkv)


def slope(rows: list[int], sizes: list[int]) -> float:
    """Of the logarithm of sizes over that of rows: 1 is in proportion, 2 is with the square.

    >>> slope([10, 100], [30, 3000])
    2.0
    """
    import numpy as np

    return float(round(np.polyfit(np.log(rows), np.log(sizes), 1)[0], 4))


def judged(parts: Mapping[str, Facts], by: str) -> list[Figure]:  # noqa: ARG001 - wall time
    """Three times as fast, ten times as long, in proportion."""
    ours, theirs = parts["by_kernel"], parts["by_formula"]
    sizes = zip(ours["rows"], ours["bytes"], strict=True)
    longest = max((rows for rows, size in sizes if size <= theirs["bytes"]), default=1)
    grown = slope(ours["rows"], ours["extra_bytes"])
    said = f"forward and backward at {theirs['rows']:,} rows ({ours['backend']})"
    budget = theirs["bytes"] / 1e6
    longer = f"memory a row of the longest history tried within {budget:,.0f} MB: {longest:,} rows"
    return [
        Figure(said, ours["seconds"], theirs["seconds"], "s", "at_least", FASTER),
        Figure(longer, budget / longest, budget / theirs["rows"], "MB", "at_least", LONGER),
        Figure("growth of extra memory in length, log over log", grown, 1.0, "", "at_most", SLOPE),
    ]


CASE = Case(
    question="fused attention",
    peer="the formula, in the same floats",
    packages=("torch",),
    parts={"by_formula": by_formula, "by_kernel": by_kernel},
    judged=judged,
)
