"""Making: one asset's work as data, and the one body that does it, or recognises it as done."""

import datetime as dt
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from nexus_model.schema import NexusError
from nexus_pipeline.defs.resources import ProgressResource, Workshop, workshop
from nexus_pipeline.defs.shown import as_metadata
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.records import MadeRecord, code_version, fingerprint
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.storage.resource import StoreResource
from nexus_pipeline.tracking.resource import TrackerResource
from nexus_pipeline.tracking.run_log import RunLog
from nexus_pipeline.tracking.tracker import Status, Tracker

STAGES = (
    "raw", "validated", "aligned", "tokenized", "trained", "optimized", "evaluated", "served",
)  # fmt: skip
EVERYTHING, ABLATION, ENSEMBLE = "everything", "ablation", "ensemble"
OPTIMIZATION, BATCH = "optimization", "batch"


class Doing(NamedTuple):
    """What the work of one materialization may use besides the workshop."""

    fingerprint: str
    upstream: Mapping[str, str]
    run: RunLog
    tracking_uri: str
    tags: Mapping[str, str]
    day: str = ""


class Made(NamedTuple):
    """The reference to what was made, and what the asset's page shows of it."""

    stored: Stored
    shown: Mapping[str, Any]


class Making(NamedTuple):
    """One asset: its key, what it is made from, by which code and configuration, and how.

    ``code`` are source files and packages below the repository; ``also`` gives further content the
    result depends on, such as the hash of a file, when the asset is about to be made; it is told
    where the tracking server is. ``job`` is who makes it: what is of another job than
    ``everything`` is made when it is asked for. What belongs to some ``tasks`` only is left out of
    a run of another; none named, it is of all. What is made ``daily_from`` a date has a partition
    for each day.
    """

    key: str
    description: str
    kinds: frozenset[str]
    upstream: tuple[str, ...]
    code: tuple[str, ...]
    config: Mapping[str, Any]
    make: Callable[[Workshop, Doing], Made]
    also: Callable[[str], Mapping[str, str]] = lambda _: {}
    job: str = EVERYTHING
    tasks: frozenset[str] = frozenset()
    daily_from: dt.date | None = None

    def is_of(self, task: str | None) -> bool:
        """Whether a run of this task, or of all, makes it."""
        return task is None or not self.tasks or task in self.tasks

    @property
    def stage(self) -> str:
        """The stage word."""
        return self.key.split("/")[1]


@cache
def versioned(code: tuple[str, ...]) -> str:
    """Code version of these sources, read once per process."""
    return code_version(*code)


def build_asset(project: ProjectConfig, making: Making) -> dg.AssetsDefinition:
    """The Dagster asset of a making."""

    @dg.asset(
        key=dg.AssetKey(making.key.split("/")),
        deps=[dg.AssetKey(key.split("/")) for key in making.upstream],
        group_name=making.stage,
        kinds=set(making.kinds),
        description=making.description,
        code_version=versioned(making.code),
        partitions_def=_days(making.daily_from),
    )
    def made(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        tracker: TrackerResource,
        progress: ProgressResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        room = workshop(project, store, progress)
        day = context.partition_key if context.has_partition_key else ""
        record, reused = make_or_reuse(making, room, tracker, context.run.run_id, day)
        metadata = {**as_metadata(record.shown), **record.stored.facts}
        metadata |= {"location": record.stored.location, "seconds": record.seconds}
        if reused:
            metadata["reused_from"] = record.run_id
            context.log.info("%s: unchanged, reused from run %s", making.key, record.run_id)
        return dg.MaterializeResult(
            metadata=metadata, data_version=dg.DataVersion(record.data_version)
        )

    return made


def _days(first: dt.date | None) -> dg.DailyPartitionsDefinition | None:
    return None if first is None else dg.DailyPartitionsDefinition(start_date=first.isoformat())


def make_or_reuse(
    making: Making, room: Workshop, tracker: TrackerResource, run_id: str, day: str = ""
) -> tuple[MadeRecord, bool]:
    """The record of a making: the former one if nothing it depends on changed, else a new one.

    Each ``day`` of a making that has days has a record of its own.
    """
    key, runs = f"{making.key}/{day}".rstrip("/"), open_tracker(tracker.path, tracker.experiment)
    upstream = room.records.versions(making.upstream)
    also = making.also(runs.uri)
    print_ = fingerprint(versioned(making.code), making.config, {**upstream, **also})
    former = room.records.read(key)
    if former and former.fingerprint == print_ and is_there(room, former.stored):
        room.progress.line(f"{key}: unchanged, reused")
        return former, True
    room.progress.passing(f"{key} ...")
    started = time.perf_counter()
    tags = {
        "dagster.run_id": run_id,
        "dagster.asset_key": key,
        "nexusflow.stage": making.stage,
        "nexusflow.fingerprint": print_,
        "nexusflow.code_version": versioned(making.code),
    }
    parent = runs.parent_run(run_id)
    status: Status = "FAILED"
    try:
        with runs.run(key, parent, tags) as run:
            made = making.make(room, Doing(print_, upstream, run, runs.uri, tags, day))
            seconds = time.perf_counter() - started
            run.log_params(making.config)
            run.log_metrics({**numbers(made.stored.facts), "seconds": seconds})
            run.log_dataset(key, made.stored.sha256, made.stored.location)
        status = "FINISHED"
    except NexusError as error:
        room.progress.line(f"{key}: failed: {error}")
        raise dg.Failure(
            description=str(error), metadata={"exit_code": error.exit_code}, allow_retries=False
        ) from error
    finally:
        runs.finish_parent(run_id, status)
    record = MadeRecord(
        key=key,
        fingerprint=print_,
        stored=made.stored,
        run_id=run_id,
        tracking_run_id=run.run_id,
        seconds=seconds,
        shown={**made.shown, "url": run.url(tracker.ui_url)},
    )
    room.records.write(record)
    room.progress.line(f"{key}: {made.stored.rows} rows, {seconds:.1f} s")
    return record, False


def is_there(room: Workshop, stored: Stored) -> bool:
    """Whether a reference still leads somewhere."""
    place = Path(room.project.root, stored.location)
    return place.exists() or (
        stored.location.count(".") == 1
        and "/" not in stored.location
        and room.store.exists(stored.location)
    )


@cache
def open_tracker(path: str, experiment: str) -> Tracker:
    """One tracker per process, so that the experiment is looked up once."""
    return Tracker(Path(path), experiment)


def numbers(facts: Mapping[str, Any]) -> dict[str, float]:
    """The numeric facts, as MLflow keeps metrics: it takes few kinds of signs in a name."""
    return {
        re.sub(r"[^\w\-. :/]", "-", name): float(value)
        for name, value in facts.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
