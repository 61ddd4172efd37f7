"""Where a part runs, what its work takes there, and what is left out to stand beside it.

A part runs on the CUDA device if there is one; a rehearsal hides it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from benchmarks.speed.case import Facts

WARM = 3


def device() -> Any:
    """The CUDA device, or the CPU of a rehearsal."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16() -> AbstractContextManager[Any]:
    """Products in bfloat16, as ``precision: bf16`` has them."""
    import torch

    return torch.autocast(device().type, dtype=torch.bfloat16)


def finished() -> None:
    """Wait for the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[int], Any], steps: int) -> float:
    """Seconds of one of ``steps`` calls, each given its number, after some to warm up."""
    for at in range(WARM):
        work(at)
    finished()
    started = time.perf_counter()
    for at in range(steps):
        work(at)
    finished()
    return (time.perf_counter() - started) / steps


def held(work: Callable[[], Any]) -> int:
    """Bytes that torch held at most meanwhile, beyond what it held before."""
    import torch

    work()
    finished()
    if not torch.cuda.is_available():
        return _held_on_cpu(work)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    finished()
    return torch.cuda.max_memory_allocated() - before


def _held_on_cpu(work: Callable[[], Any]) -> int:
    """The same, from what torch's allocator tells its profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        work()
    events = told.profiler.kineto_results.events()  # type: ignore[union-attr]
    marks = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, change in marks:
        now += change
        most = max(most, now)
    return most


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Attention backends and products of experts of these names refuse everything meanwhile."""
    from nexus_model.layers.attention.select import BACKENDS
    from nexus_model.layers.experts.product import PRODUCTS

    left_out = [found for found in (*BACKENDS, *PRODUCTS) if found.name in names]
    for found in left_out:
        vars(found)["refusals"] = lambda _call: ["left out by a benchmark"]
    try:
        yield
    finally:
        for found in left_out:
            del vars(found)["refusals"]


PACKED = ("flash_attn", "torch_varlen")
FUSED = (*PACKED, "sdpa")


def versions() -> Facts:
    """The GPU and what drives it, for a part's facts."""
    import importlib.metadata

    import torch

    try:
        flash = importlib.metadata.version("flash_attn")
    except importlib.metadata.PackageNotFoundError:
        flash = "absent"
    if not torch.cuda.is_available():
        return {"GPU": "none", "flash_attn": flash}
    major, minor = torch.cuda.get_device_capability()
    return {
        "GPU": torch.cuda.get_device_name(),
        "capability": f"{major}.{minor}",
        "CUDA": str(torch.version.cuda),
        "flash_attn": flash,
    }
