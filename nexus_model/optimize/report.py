"""What making the model smaller cost: bytes counted, predictions compared, calls timed."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from nexus_model.optimize.int8 import matrix_bytes
from nexus_model.schema import Record


class Compared(Record):
    """The same quantity of the float32 and of the INT8 model."""

    float32: float
    int8: float

    @property
    def ratio(self) -> float:
        """INT8 over float32."""
        return self.int8 / self.float32 if self.float32 else float("nan")


class Latency(Record):
    """Wall-clock milliseconds of one call."""

    p50_ms: float
    p95_ms: float
    calls: int


class SizeReport(Record):
    """Bytes, the largest change of a prediction, and the metric before and after."""

    file_bytes: Compared
    matrix_bytes: Compared
    largest_difference: float
    metric: str
    score: Compared
    rows: int
    latency_float32: Latency | None = None
    latency_int8: Latency | None = None


def measure_latency(call: Callable[[], object], *, calls: int = 50, warm_up: int = 5) -> Latency:
    """Time ``call``; it must wait for its own result where a device works asynchronously."""
    for _ in range(warm_up):
        call()
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1000)
    middle, late = np.quantile(taken, [0.5, 0.95])
    return Latency(p50_ms=float(middle), p95_ms=float(late), calls=calls)


def compare_sizes(
    *,
    files: tuple[Path, Path],
    states: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    predictions: tuple[ArrayLike, ArrayLike],
    metric: str,
    score: Callable[[ArrayLike], float],
    latency: tuple[Latency, Latency] | None = None,
) -> SizeReport:
    """Each pair is (float32, INT8); ``score`` gives the metric of a prediction."""
    exact, small = (np.asarray(part, dtype=np.float64) for part in predictions)
    if exact.shape != small.shape:
        raise ValueError(f"predictions must be of the same rows: {exact.shape}, {small.shape}")
    sizes = [file.stat().st_size for file in files]
    matrices = [matrix_bytes(state) for state in states]
    return SizeReport(
        file_bytes=Compared(float32=sizes[0], int8=sizes[1]),
        matrix_bytes=Compared(float32=matrices[0], int8=matrices[1]),
        largest_difference=float(np.abs(exact - small).max()) if exact.size else 0.0,
        metric=metric,
        score=Compared(float32=score(exact), int8=score(small)),
        rows=len(exact),
        latency_float32=latency[0] if latency else None,
        latency_int8=latency[1] if latency else None,
    )
