"""What a run costs its machine: processor, memory, disk and network, sampled beside the work.

DIFFERS: MLflow's own monitor writes to the server itself and stops when it is down; here samples
are events like all others, so that they wait with them. Names are MLflow's, for its page of them.
"""

import os
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from nexus_pipeline.tracking.run_log import RunLog

EVERY_S = 10.0
# MLflow's own variable; "false" switches off what the project file switches on.
SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"


def is_wanted(asked: bool) -> bool:  # noqa: FBT001 - what the project file says
    """Whether the project asks and the environment does not refuse."""
    return asked and os.environ.get(SWITCH, "").lower() != "false"


class SystemMetrics:
    """A thread that samples while its block is open, and once more as it is left."""

    def __init__(self, log: "RunLog", every_s: float = EVERY_S) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self.log, self.every_s = log, every_s
        self.failure: BaseException | None = None
        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), *_gpu()]
        self._step = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="system-metrics", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if error is None and self.failure is not None:
            raise self.failure

    def _watch(self) -> None:
        try:
            while not self._over.wait(self.every_s):
                self._sample()
            self._sample()
        except BaseException as failure:  # noqa: BLE001 - raised again where the block is left
            self.failure = failure

    def _sample(self) -> None:
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        named = {f"system/{name}": value for name, value in found.items()}
        self.log.log_metrics(named, step=self._step)
        self._step += 1


def _gpu() -> list[Any]:
    """NVIDIA's monitor where its library is installed and finds a device."""
    import torch

    if not torch.cuda.is_available():
        return []
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        return [GPUMonitor()]
    except (ImportError, RuntimeError):
        return []
