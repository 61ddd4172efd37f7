"""An attempt at making an asset: who is told of it while it is under way, and how it fails."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from nexus_model.schema import NexusError
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.shortage import shortage_of
from nexus_pipeline.lineage.audit import trail_of
from nexus_pipeline.lineage.model_lineage import commit_of, config_hash
from nexus_pipeline.steps.noting import Note
from nexus_pipeline.tracking.resource import TrackerResource
from nexus_pipeline.tracking.run_log import RunLog
from nexus_pipeline.tracking.server import ServerDownError, shown_address
from nexus_pipeline.tracking.tracker import ASSET, DAGSTER_RUN, FINGERPRINT, Tracker

LEARNING = ("trained", "optimized", "evaluated")


class Attempt(NamedTuple):
    """Which Dagster run asks, at which of its attempts, and the run it is a re-execution of."""

    run_id: str
    number: int = 0
    repeats: str = ""

    @property
    def former(self) -> tuple[str, ...]:
        """Dagster runs that may have tried the same before."""
        own = (self.run_id,) if self.number else ()
        return (*own, *((self.repeats,) if self.repeats else ()))


class Work(NamedTuple):
    """What is made, by what, and how it is recognised."""

    key: str
    stage: str
    fingerprint: str
    code_version: str
    config: Mapping[str, Any]
    attempt: Attempt

    def tags(self, dagster_url: str) -> dict[str, str]:
        """What the MLflow run and a registered version say of it, with the way back to Dagster."""
        run, asset = f"{dagster_url}/runs/{self.attempt.run_id}", f"{dagster_url}/assets/{self.key}"
        return {
            DAGSTER_RUN: self.attempt.run_id,
            ASSET: self.key,
            "dagster.url": run,
            "nexusflow.stage": self.stage,
            FINGERPRINT: self.fingerprint,
            "nexusflow.code_version": self.code_version,
            "mlflow.note.content": f"[{self.key}]({asset}), made by Dagster run "
            f"[{self.attempt.run_id[:8]}]({run})",
        }


def noting(room: Workshop, work: Work) -> Note:
    """Writes to the project's audit trail, and says of everything which work it belongs to."""
    trail = trail_of(room.project)
    identity = {
        "key": work.key,
        "fingerprint": work.fingerprint,
        "code_version": work.code_version,
        "config_sha256": config_hash(work.config),
        "dagster_run": work.attempt.run_id,
    }

    def note(what: str, facts: Mapping[str, Any]) -> str:
        return trail.note(what, {**identity, **facts})

    return note


@contextmanager
def told_runs(
    room: Workshop, tracker: TrackerResource, runs: Tracker, work: Work
) -> Iterator[RunLog]:
    """The open MLflow run of the work, and beside it whoever else the project file names."""
    from nexus_pipeline.tracking.system_metrics import SystemMetrics, is_wanted
    from nexus_pipeline.tracking.wandb_log import wandb_log

    mlops, attempt = room.project.mlops, work.attempt
    parent = runs.parent_run(attempt.run_id, {"dagster.url": _page(tracker, attempt)})
    tags = {**work.tags(tracker.dagster_url), "nexusflow.attempt": str(attempt.number + 1)}
    with ExitStack() as open_, runs.run(work.key, parent, tags, attempt.former) as log:
        if mlops.logging_provider == "wandb" and work.stage in LEARNING:
            folder = Path(tracker.path).resolve().parents[1] / "wandb"
            log.second = open_.enter_context(wandb_log(folder, runs.experiment, work.key, log.key))
        trains = work.stage == "trained" or "/ensemble_" in work.key
        if trains and is_wanted(mlops.system_metrics):
            open_.enter_context(SystemMetrics(log))
        yield log


def _page(tracker: TrackerResource, attempt: Attempt) -> str:
    return f"{tracker.dagster_url}/runs/{attempt.run_id}"


def tracking_shown(tracker: TrackerResource, runs: Tracker, log: RunLog) -> dict[str, str]:
    """The way to the run's page, or where its events wait."""
    if log.waits:
        return {"tracking": told_outage(runs, runs.outage.reason)}
    return {"url": log.url(tracker.ui_url)}


def told_outage(runs: Tracker, reason: str) -> str:
    """One line for the log and the asset's page."""
    server = shown_address(runs.uri)
    kept = "what it would be told is kept; `nexusflow tracking sync` sends it"
    return f"the MLflow server at {server} does not answer ({reason}): {kept}"


class Failing:
    """A user's error, or a full disk or memory, ends the step with its exit code.

    Only a server may be back at a retry. Whatever else fails inside goes on as it is.
    """

    def __init__(self, room: Workshop, key: str) -> None:
        self.room = room
        self.key = key

    def __enter__(self) -> None:
        """Nothing to begin with."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Say what failed, if it is ours to say."""
        if error is None or isinstance(error, dg.Failure):
            return
        told = shortage_of(error) or (error if isinstance(error, NexusError) else None)
        if told is None:
            return
        self.room.progress.line(f"{self.key}: failed: {told}")
        raise dg.Failure(
            description=str(told),
            metadata={"exit_code": told.exit_code},
            allow_retries=isinstance(told, ServerDownError),
        ) from error


@cache
def commit_at(root: Path, run_id: str) -> str:  # noqa: ARG001 - asked once a run
    """The commit the project is at during a run."""
    return commit_of(root)
