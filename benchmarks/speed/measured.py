"""What a piece of work took: wall and CPU seconds, and the most memory held meanwhile."""

import gc
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil

Result = TypeVar("Result")
MEGA = 1e6


class Taken(NamedTuple):
    """Seconds, and megabytes of the whole process: before, and at most meanwhile."""

    wall_s: float
    cpu_s: float
    before_mb: float
    peak_mb: float

    @property
    def facts(self) -> dict[str, float]:
        """Rounded, for a JSON file."""
        return {name: round(value, 3) for name, value in self._asdict().items()}


def taken(work: Callable[[], Result]) -> tuple[Result, Taken]:
    """Do it once; a process is best asked once, since memory given back may stay with it."""
    gc.collect()
    before = psutil.Process().memory_info().rss / MEGA
    _forget_peak()
    started, spent = time.perf_counter(), _cpu()
    result = work()
    wall, cpu = time.perf_counter() - started, _cpu() - spent
    return result, Taken(wall, cpu, before, max(before, _peak()))


def _cpu() -> float:
    """CPU seconds of this process and of those it waited for."""
    waited = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + waited.ru_utime + waited.ru_stime


def _forget_peak() -> None:
    """Let the kernel count the peak from here, where it can; else it is that of the whole life."""
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        marks.write_text("5", "ascii")


def _peak() -> float:
    told = Path("/proc/self/status")
    if told.exists():
        [line] = [line for line in told.read_text("ascii").splitlines() if "VmHWM" in line]
        return int(line.split()[1]) * 1024 / MEGA
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGA
