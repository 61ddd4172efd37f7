"""One open run: parameters, metrics, files and data sets are written to it by id."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from nexus_pipeline.tracking.delivery import Delivery
from nexus_pipeline.tracking.events import (
    Event,
    Status,
    artifact_event,
    input_event,
    metrics_event,
    params_event,
    tags_event,
    terminated_event,
)
from nexus_pipeline.tracking.server import ServerDownError


class SecondLog(Protocol):
    """Whoever is told the same events."""

    def take(self, event: Event) -> None:
        """Take an event."""


class RunLog:
    """Writes to one run; knows no active run and leaves none behind."""

    def __init__(self, delivery: Delivery, key: str, experiment_id: str) -> None:
        self.key, self.experiment_id = key, experiment_id
        self.second: SecondLog | None = None
        self._delivery = delivery

    @property
    def run_id(self) -> str:
        """The run's id on the server, or ``waiting-...`` while the server does not know it."""
        return self._delivery.run_id or f"waiting-{self.key}"

    @property
    def waits(self) -> bool:
        """Whether events are kept on disk because the server is down."""
        return self._delivery.waits

    def registrable_id(self) -> str:
        """The run's id, for what is impossible without a server.

        Raises:
            ServerDownError: the server was down when the run was opened, or since.
        """
        if self.waits:
            raise ServerDownError(
                self._delivery.uri,
                self._delivery.reason,
                "a model is registered there or nowhere; when it answers again, `nexusflow "
                "tracking sync` and `nexusflow train`: what was made is kept",
            )
        return self.run_id

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record parameters; a nested mapping gives names such as ``optimizer.lr``."""
        self._take(params_event(params))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers, all in one request."""
        self._take(metrics_event(metrics, step))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file, or of all files of a folder, with the run."""
        self._take(artifact_event(path, folder))

    def log_dataset(self, name: str, digest: str, source: str) -> None:
        """Record what was read; MLflow keeps 36 characters of the digest, a tag the rest."""
        self._take(input_event(name, digest, source))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add or replace tags."""
        self._take(tags_event(tags))

    def end(self, status: Status) -> None:
        """Close the run."""
        try:
            self._take(terminated_event(status))
        finally:
            self._delivery.close()

    def url(self, base_url: str) -> str:
        """The run's page in the MLflow UI at ``base_url``; empty while the server is down."""
        if self.waits:
            return ""
        path = f"experiments/{self.experiment_id}/runs/{self.run_id}"
        return f"{base_url.rstrip('/')}/#/{path}"

    def _take(self, event: Event) -> None:
        self._delivery(event)
        if self.second is not None:
            self.second.take(event)
