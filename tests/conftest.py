"""One thread, no telemetry, nothing written into the repository: what every test stands on."""

import os
import tempfile
from pathlib import Path

_HOME = tempfile.TemporaryDirectory(prefix="nexus-tests-")
os.environ |= {
    "DAGSTER_DISABLE_TELEMETRY": "yes",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "MPLBACKEND": "Agg",
    "NEXUS_HOME": _HOME.name,
    "DAGSTER_HOME": str(Path(_HOME.name) / "dagster"),
}
Path(os.environ["DAGSTER_HOME"]).mkdir()

import pytest  # noqa: E402 - the environment is read when libraries are imported
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=25, database=None)
settings.load_profile("ci")


@pytest.fixture(autouse=True)
def same_random_numbers():
    """Every test starts from the same state of torch's generator and leaves its threads alone."""
    torch.manual_seed(0)
    yield
    torch.set_num_threads(1)


def pytest_sessionfinish() -> None:
    """Remove the session's home."""
    _HOME.cleanup()
