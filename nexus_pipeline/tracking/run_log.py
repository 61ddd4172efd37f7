"""One open MLflow run: parameters, metrics, files and data sets are written to it by id."""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What a tracking server takes at once, and how long a text may be.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_PARAM_LENGTH, _DIGEST_LENGTH = 6000, 36


class RunLog:
    """Writes to one run through a client; knows no active run and leaves none behind."""

    def __init__(self, client: "MlflowClient", run_id: str, experiment_id: str) -> None:
        self.run_id = run_id
        self.experiment_id = experiment_id
        self._client = client

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters; a nested mapping gives names such as ``optimizer.lr``."""
        from mlflow.entities import Param

        flat = [Param(name, str(value)[:_PARAM_LENGTH]) for name, value in _flat(params)]
        for part in _parts(flat, _PARAMS_AT_ONCE):
            self._client.log_batch(self.run_id, params=part)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, all in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(name, float(value), now, step or 0) for name, value in metrics.items()]
        for part in _parts(entries, _METRICS_AT_ONCE):
            self._client.log_batch(self.run_id, metrics=part)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file, or of all files of a folder, with the run."""
        if path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), folder)
        else:
            self._client.log_artifact(self.run_id, str(path), folder)

    def log_dataset(self, name: str, digest: str, source: str) -> None:
        """Record what was read; MLflow keeps 36 characters of the digest, a tag the rest."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=name,
            digest=digest[:_DIGEST_LENGTH],
            source_type="local",
            source=json.dumps({"uri": source}),
        )
        tags = [InputTag("mlflow.data.context", "training"), InputTag("digest", digest)]
        self._client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        from mlflow.entities import RunTag

        entries = [RunTag(name, value) for name, value in tags.items()]
        self._client.log_batch(self.run_id, tags=entries)

    def url(self, base_url: str) -> str:
        """The run's page in the MLflow UI at ``base_url``."""
        path = f"experiments/{self.experiment_id}/runs/{self.run_id}"
        return f"{base_url.rstrip('/')}/#/{path}"


def _flat(params: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parts(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
