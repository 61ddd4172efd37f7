"""Delivery: events go to the server until it is found down, and to the disk from then on."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from nexus_pipeline.tracking.events import Event, send
from nexus_pipeline.tracking.server import ServerDownError, answering_server
from nexus_pipeline.tracking.waiting import KeptRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")


class Outage:
    """Whether the server was found down; whoever was told is not asked again in a Dagster run."""

    def __init__(self) -> None:
        self.reason = ""
        self._run = ""
        self._news = False

    def begin(self, dagster_run: str) -> None:
        """Another Dagster run asks again."""
        if dagster_run != self._run:
            self.reason, self._run = "", dagster_run

    def ask(self, uri: str, call: Callable[[], T]) -> T:
        """What the server answers.

        Raises:
            ServerDownError: it is down, or was so before in this Dagster run.
        """
        if self.reason:
            raise ServerDownError(uri, self.reason)
        try:
            with answering_server(uri, ""):
                return call()
        except ServerDownError as error:
            self.reason, self._news = error.reason, True
            raise

    def take_news(self) -> str:
        """Why the server is down, to who asks first."""
        reason, self._news = self.reason if self._news else "", False
        return reason


class Delivery:
    """Where the events of one run go; safe to use from several threads.

    ``header`` says which run it is, in the first line of its waiting file. Without ``run_id`` the
    run itself is waiting.
    """

    def __init__(
        self,
        outage: Outage,
        uri: str,
        client: Callable[[], "MlflowClient"],
        kept: KeptRun,
        header: Event,
    ) -> None:
        self.uri = uri
        self._outage, self._client = outage, client
        self._kept, self._header = kept, header
        self._seen = NotTwice(client) if header.get("again") else None
        self._lock = threading.Lock()
        self.waits = False

    @property
    def run_id(self) -> str:
        """The run's id on the server; empty while the run itself is waiting."""
        return str(self._header.get("run_id", ""))

    @property
    def reason(self) -> str:
        """Why the server is down."""
        return self._outage.reason

    def begin_waiting(self, event: Event | None = None) -> None:
        """Keep this and everything further on disk."""
        self.waits = True
        self._kept.hold()
        self._kept.keep(self._header, event)

    def __call__(self, event: Event) -> None:
        """Send or keep an event."""
        with self._lock:
            if self.waits:
                self._kept.keep(self._header, event)
                return
            try:
                self._outage.ask(self.uri, lambda: self._send(event))
            except ServerDownError:
                self.begin_waiting(event)

    def close(self) -> None:
        """Nothing more will come."""
        self._kept.release()

    def _send(self, event: Event) -> None:
        new = self._seen.new(self.run_id, event) if self._seen else event
        send(self._client(), self.run_id, new)


class NotTwice:
    """Leaves out the points that a former attempt of the same run has logged."""

    def __init__(self, client: Callable[[], "MlflowClient"]) -> None:
        self._client = client
        self._known: dict[str, set[tuple[int, float]]] = {}

    def new(self, run_id: str, event: Event) -> Event:
        """The event without points of the same name, step and value as one that is there."""
        if event["kind"] != "metrics":
            return event
        kept: list[Any] = []
        for name, value, at, step in event["entries"]:
            if (step, value) not in self._of(run_id, name):
                kept.append([name, value, at, step])
        return {**event, "entries": kept}

    def _of(self, run_id: str, name: str) -> set[tuple[int, float]]:
        if name not in self._known:
            found = self._client().get_metric_history(run_id, name)
            self._known[name] = {(point.step, point.value) for point in found}
        return self._known[name]
