"""MLflow runs for Dagster runs: a parent per Dagster run, a child per materialization.

There is no active run and no global state: everything goes by run id, so that steps in other
processes find their parent by its tag.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nexus_pipeline.tracking.run_log import RunLog

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DAGSTER_RUN = "dagster.run_id"
_ROLE = "nexus.role"
_PARENT = "mlflow.parentRunId"
Status = Literal["FINISHED", "FAILED", "KILLED"]


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
        self._parents: dict[str, str] = {}

    @property
    def uri(self) -> str:
        """Where runs are recorded."""
        return os.environ.get(URI_VARIABLE) or f"sqlite:///{self.path.resolve()}"

    @cached_property
    def client(self) -> "MlflowClient":
        """The MLflow client; the first one of a new SQLite file takes seconds to make tables."""
        # Read when the package is imported, so it must be said before.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["DO_NOT_TRACK"] = "true"
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
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
        """The id of the Dagster run's MLflow run; it is made when it is not there."""
        known = self._parents.get(dagster_run_id) or self._find_parent(dagster_run_id)
        if known is None:
            name = f"dagster {dagster_run_id[:8]}"
            own = {**(tags or {}), DAGSTER_RUN: dagster_run_id, _ROLE: "parent"}
            made = self.client.create_run(self.experiment_id, tags=own, run_name=name)
            # Two steps may start at once: the run that everybody finds first stays.
            known = self._find_parent(dagster_run_id) or made.info.run_id
            if known != made.info.run_id:
                self.client.delete_run(made.info.run_id)
        self._parents[dagster_run_id] = known
        return known

    @contextmanager
    def run(
        self, name: str, parent: str | None = None, tags: Mapping[str, str] | None = None
    ) -> Iterator[RunLog]:
        """A run that is open inside the block: FINISHED after it, FAILED when it raises."""
        own = {**(tags or {}), **({_PARENT: parent} if parent else {})}
        made = self.client.create_run(self.experiment_id, tags=own, run_name=name)
        status: Status = "FAILED"
        try:
            yield RunLog(self.client, made.info.run_id, self.experiment_id)
            status = "FINISHED"
        finally:
            self.client.set_terminated(made.info.run_id, status)

    def finish_parent(self, dagster_run_id: str, status: Status = "FINISHED") -> None:
        """Close the Dagster run's MLflow run; does nothing when there is none."""
        parent = self._find_parent(dagster_run_id)
        if parent is not None:
            self.client.set_terminated(parent, status)

    def close_run(self, dagster_run_id: str, status: Status) -> None:
        """Close whatever the Dagster run left running."""
        said = f"tags.`{DAGSTER_RUN}` = '{dagster_run_id}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([self.experiment_id], said):
            self.client.set_terminated(run.info.run_id, status)

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
