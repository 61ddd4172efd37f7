"""MLflow runs for Dagster runs: a parent per Dagster run, a child per materialization.

There is no active run and no global state: everything goes by run id, so that steps in other
processes find their parent by its tag. A server that is down stops nothing: what it would have been
told waits on disk (``waiting``) until ``replay`` sends it.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nexus_pipeline.tracking.delivery import Delivery, Outage
from nexus_pipeline.tracking.events import Event, Status, now, terminated_event
from nexus_pipeline.tracking.run_log import RunLog
from nexus_pipeline.tracking.server import ServerDownError, be_patient, shown_address
from nexus_pipeline.tracking.waiting import KeptRun

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DAGSTER_RUN, ASSET, FINGERPRINT = "dagster.run_id", "dagster.asset_key", "nexusflow.fingerprint"
RUN_KEY = "nexusflow.run_key"
_ROLE = "nexus.role"
_PARENT = "mlflow.parentRunId"
_KEPT_PARENT = "waiting-parent-"
T = TypeVar("T")


@contextmanager
def tracking_at(uri: str) -> Iterator[None]:
    """MLflow's process-wide address is ``uri`` inside the block, and what it was after it.

    MLflow keeps that address in URI_VARIABLE too: left there, every later tracker would follow it.
    """
    import mlflow

    said = os.environ.get(URI_VARIABLE)
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        if said is not None:
            os.environ[URI_VARIABLE] = said


class Tracker:
    """Runs of one experiment, in an SQLite file or on the server MLFLOW_TRACKING_URI names."""

    def __init__(self, path: Path, experiment: str) -> None:
        self.path = Path(path)
        self.experiment = experiment
        self.outage = Outage()
        self._parents: dict[str, str] = {}

    @property
    def uri(self) -> str:
        """Where runs are recorded."""
        return os.environ.get(URI_VARIABLE) or f"sqlite:///{self.path.resolve()}"

    @property
    def waiting(self) -> Path:
        """Where events wait for the server."""
        name = re.sub(r"[^\w-]", "_", self.experiment)
        return self.path.resolve().parent / "waiting" / name

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow client; the first one of a new SQLite file takes seconds to make tables."""
        be_patient()
        from mlflow import MlflowClient

        if not os.environ.get(URI_VARIABLE):
            self.path.resolve().parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.uri)

    @cached_property
    def experiment_id(self) -> str:
        """The experiment's id; it is made when it is not there."""
        found = self.client.get_experiment_by_name(self.experiment)
        return found.experiment_id if found else self._create_experiment()

    def parent_run(self, dagster_run_id: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of the Dagster run's MLflow run; it is made when it is not there.

        While the server is down the id is one that ``run`` understands.
        """
        self.outage.begin(dagster_run_id)
        known = self._parents.get(dagster_run_id)
        if known is None:
            header = self._parent_header(dagster_run_id, tags)
            try:
                known = self._ask(lambda: self.parent_on_server(header))
            except ServerDownError:
                self._kept_parent(dagster_run_id).keep(header)
                return f"{_KEPT_PARENT}{dagster_run_id}"
        self._parents[dagster_run_id] = known
        return known

    @contextmanager
    def run(
        self,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        former: Sequence[str] = (),
    ) -> Iterator[RunLog]:
        """A run that is open inside the block: FINISHED after it, FAILED when it raises.

        ``former`` are Dagster runs that tried the same before, perhaps this one itself: the run one
        of them opened for the same asset and fingerprint is used again.
        """
        said = dict(tags or {})
        header = self._header("run", name, {**said, RUN_KEY: run_key(said)})
        if parent:
            header["parent"] = parent
        if former:
            header["again"] = [run_key({**said, DAGSTER_RUN: one}) for one in former]
        log = self._opened(header)
        status: Status = "FAILED"
        try:
            yield log
            status = "FINISHED"
        finally:
            log.end(status)

    def _opened(self, header: Event) -> RunLog:
        key = header["tags"][RUN_KEY]
        kept = KeptRun(self.waiting, key)
        delivery = Delivery(self.outage, self.uri, lambda: self.client, kept, header)
        try:
            header["run_id"] = self._ask(lambda: self.open_on_server(header))
        except ServerDownError:
            # An attempt before this one may have left its events there.
            again = kept.path.exists()
            delivery.begin_waiting({"kind": "reopened"} if again else None)
            return RunLog(delivery, key, "")
        return RunLog(delivery, key, self.experiment_id)

    def finish_parent(self, dagster_run_id: str, status: Status = "FINISHED") -> None:
        """Close the Dagster run's MLflow run; does nothing when there is none."""
        event = terminated_event(status)
        try:
            self._ask(lambda: self.finish_on_server(dagster_run_id, event))
        except ServerDownError:
            header = self._parent_header(dagster_run_id)
            self._kept_parent(dagster_run_id).keep(header, event)

    def close_run(self, dagster_run_id: str, status: Status) -> None:
        """Close whatever the Dagster run left running."""
        event = {**terminated_event(status), "kind": "closed"}
        try:
            self._ask(lambda: self.finish_on_server(dagster_run_id, event))
        except ServerDownError:
            header = self._parent_header(dagster_run_id)
            self._kept_parent(dagster_run_id).keep(header, event)

    def parent_on_server(self, header: Event) -> str:
        """The id of the run a parent's header is about; it is made when it is not there."""
        dagster_run_id = header["tags"][DAGSTER_RUN]
        known = self._find_parent(dagster_run_id)
        if known is not None:
            return known
        made = self._create_run(header)
        # Two steps may start at once: the run that everybody finds first stays.
        known = self._find_parent(dagster_run_id) or made
        if known != made:
            self.client.delete_run(made)
        return known

    def open_on_server(self, header: Event, own: Sequence[str] = ()) -> str:
        """The id of a new run, or of the one that a former attempt opened and that goes on."""
        parent = header.get("parent", "")
        if parent.startswith(_KEPT_PARENT):
            lost = self._parent_header(parent.removeprefix(_KEPT_PARENT))
            header = {**header, "parent": self.parent_on_server(lost)}
        for key in (*own, *header.get("again", ())):
            asked = f"tags.`{RUN_KEY}` = '{key}'"
            found = self.client.search_runs([self.experiment_id], asked)
            if found:
                first = min(found, key=lambda run: (run.info.start_time, run.info.run_id))
                return self._reopen(str(first.info.run_id), header)
        return self._create_run(header)

    def finish_on_server(self, dagster_run_id: str, event: Event) -> None:
        """Close a Dagster run's MLflow run, or everything it left running."""
        status, at = event["status"], event["at"]
        if event["kind"] == "terminated":
            parent = self._find_parent(dagster_run_id)
            if parent is not None:
                self.client.set_terminated(parent, status, at)
            return
        said = f"tags.`{DAGSTER_RUN}` = '{dagster_run_id}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment_id], said):
            self.client.set_terminated(run.info.run_id, status, at)

    def _ask(self, call: Callable[[], T]) -> T:
        return self.outage.ask(self.uri, call)

    def _header(self, kind: str, name: str, tags: Mapping[str, str]) -> Event:
        server = shown_address(self.uri)
        return {"kind": kind, "name": name, "tags": dict(tags), "at": now(), "server": server}

    def _parent_header(self, dagster_run_id: str, tags: Mapping[str, str] | None = None) -> Event:
        own = {**(tags or {}), DAGSTER_RUN: dagster_run_id, _ROLE: "parent"}
        return self._header("parent", f"dagster {dagster_run_id[:8]}", own)

    def _kept_parent(self, dagster_run_id: str) -> KeptRun:
        return KeptRun(self.waiting, f"0-parent-{dagster_run_id}")

    def _create_run(self, header: Event) -> str:
        tags = dict(header["tags"])
        if header.get("parent"):
            tags[_PARENT] = header["parent"]
        made = self.client.create_run(
            self.experiment_id, start_time=header["at"], tags=tags, run_name=header["name"]
        )
        return str(made.info.run_id)

    def _reopen(self, run_id: str, header: Event) -> str:
        tags = dict(header["tags"])
        if header.get("parent"):
            tags[_PARENT] = header["parent"]
        self.client.update_run(run_id, status="RUNNING")
        for name, value in tags.items():
            self.client.set_tag(run_id, name, value)
        return run_id

    def _find_parent(self, dagster_run_id: str) -> str | None:
        found = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{DAGSTER_RUN}` = '{dagster_run_id}' and tags.`{_ROLE}` = 'parent'",
        )
        # The smallest of start and id is the same run for everybody who looks.
        runs = sorted((run.info.start_time, run.info.run_id) for run in found)
        return str(runs[0][1]) if runs else None

    def _create_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        # Without a place of its own a SQLite store would write files to the working folder.
        local = self.path.resolve().parent / "mlflow-artifacts"
        place = None if os.environ.get(URI_VARIABLE) else local.as_uri()
        try:
            return str(self.client.create_experiment(self.experiment, artifact_location=place))
        except MlflowException as error:
            found = self.client.get_experiment_by_name(self.experiment)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
                raise
            return str(found.experiment_id)


def run_key(tags: Mapping[str, str]) -> str:
    """What a run is of: the same for every attempt of a Dagster run at the same work.

    >>> attempt = {"dagster.run_id": "1", "dagster.asset_key": "a", "nexusflow.fingerprint": "f"}
    >>> run_key(attempt) == run_key(dict(attempt)) != run_key({**attempt, "dagster.run_id": "2"})
    True
    """
    said = [tags.get(name, "") for name in (DAGSTER_RUN, ASSET, FINGERPRINT)]
    return (
        hashlib.sha256("\n".join(said).encode()).hexdigest()[:32] if all(said) else uuid.uuid4().hex
    )
