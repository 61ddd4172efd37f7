"""Making: one asset's work as data, and the one body that does it, or recognises it as done."""

import datetime as dt
import json
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from nexus_pipeline.defs.attempt import (
    Attempt,
    Failing,
    Work,
    commit_at,
    noting,
    told_outage,
    told_runs,
    tracking_shown,
)
from nexus_pipeline.defs.resources import ProgressResource, Workshop, workshop
from nexus_pipeline.defs.shown import as_metadata
from nexus_pipeline.defs.turns import turn_of
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.intact import files_at, first_changed
from nexus_pipeline.steps.noting import Note
from nexus_pipeline.steps.records import MadeRecord, code_version, fingerprint
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.storage.resource import StoreResource
from nexus_pipeline.tracking.events import Status
from nexus_pipeline.tracking.resource import TrackerResource
from nexus_pipeline.tracking.run_log import RunLog
from nexus_pipeline.tracking.tracker import Tracker

STAGES = (
    "raw", "validated", "aligned", "tokenized", "trained", "optimized", "evaluated", "served",
)  # fmt: skip
WRITING = ("raw", "validated", "aligned")
EVERYTHING, ABLATION, ENSEMBLE = "everything", "ablation", "ensemble"
OPTIMIZATION, BATCH, MONITORING = "optimization", "batch", "monitoring"


class Doing(NamedTuple):
    """What the work of one materialization may use besides the workshop."""

    fingerprint: str
    upstream: Mapping[str, str]
    run: RunLog
    tracking_uri: str
    tags: Mapping[str, str]
    note: Note
    day: str = ""


class Made(NamedTuple):
    """The reference to what was made, and what the asset's page shows of it."""

    stored: Stored
    shown: Mapping[str, Any]


# By day, versions of what a partition reads: it stays as it is while they do.
DayReads = Callable[[Workshop, tuple[str, ...]], Mapping[str, Mapping[str, str]]]


class Making(NamedTuple):
    """One asset: its key, what it is made from, by which code and configuration, and how.

    ``code`` are source files and packages below the repository; ``also`` gives further content the
    result depends on, such as the hash of a file, when the asset is about to be made; it is told
    where the tracking server is. ``job`` is who makes it: what is of another job than
    ``everything`` is made when it is asked for. What belongs to some ``tasks`` only is left out of
    a run of another; none named, it is of all. What is made ``daily_from`` a date has a partition
    for each day, and ``reads`` tells which part of its upstream a day sees.
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
    reads: DayReads | None = None

    def is_of(self, task: str | None) -> bool:
        """Whether a run of this task, or of all, makes it."""
        return task is None or not self.tasks or task in self.tasks

    def is_in(self, job: str) -> bool:
        """Whether a job makes it; monitoring reads the tables anew and predicts its day first."""
        predicts = self.job == BATCH and self.stage == "served"
        reads = predicts or (self.job == EVERYTHING and self.stage in WRITING)
        return self.job == job or (job == MONITORING and reads)

    @property
    def stage(self) -> str:
        """The stage word."""
        return self.key.split("/")[1]


@cache
def versioned(code: tuple[str, ...]) -> str:
    """Code version of these sources, read once per process."""
    return code_version(*code)


def build_asset(
    project: ProjectConfig,
    making: Making,
    condition: dg.AutomationCondition | None = None,  # type: ignore[type-arg]
) -> dg.AssetsDefinition:
    """The Dagster asset of a making; ``condition`` says when it is made by itself.

    Steps in processes of their own wait in a pool, so that one of them writes the store.
    """
    apart = project.automation.executor == "multiprocess"
    pool = f"{project.project_name}_store" if apart and making.stage in WRITING else None

    @dg.asset(
        key=dg.AssetKey(making.key.split("/")),
        deps=[dg.AssetKey(key.split("/")) for key in making.upstream],
        group_name=making.stage,
        kinds=set(making.kinds),
        description=making.description,
        code_version=versioned(making.code),
        partitions_def=_days(making.daily_from),
        automation_condition=condition,
        pool=pool,
    )
    def made(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        tracker: TrackerResource,
        progress: ProgressResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        room = workshop(project, store, progress)
        # A run of a partition has its key for every asset, also for those without partitions.
        day = context.partition_key if making.daily_from else ""
        attempt = Attempt(context.run.run_id, context.retry_number, context.run.parent_run_id or "")
        record, reused = make_or_reuse(making, room, tracker, attempt, day)
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
    making: Making,
    room: Workshop,
    tracker: TrackerResource,
    attempt: Attempt,
    day: str = "",
    *,
    is_alone: bool = False,
) -> tuple[MadeRecord, bool]:
    """The record of a making: the former one if nothing it depends on changed, else a new one.

    Each ``day`` of a making that has days has a record of its own. What is reused is told to
    nobody: no run is opened, nothing is noted. It is made when no other run of the project makes
    anything; ``is_alone`` says that this was waited for.
    """
    key, runs = f"{making.key}/{day}".rstrip("/"), open_tracker(tracker.path, tracker.experiment)
    upstream, code = room.records.versions(making.upstream), versioned(making.code)
    config = json.loads(json.dumps(dict(making.config), default=str))
    with Failing(room, key):
        read = versions_read(making, room, day)
        print_ = fingerprint_now(making, read, making.also(runs.uri))
        former = room.records.read(key)
        is_same = former and former.fingerprint == print_ and is_there(room, former)
    about = {"code_version": code, "config": config, "upstream": upstream}
    if former and is_same:
        if not former.code_version:  # made by a version that did not keep this
            former = former.model_copy(update=about)
            room.records.write(former)
        room.progress.line(f"{key}: unchanged, reused")
        return former, True
    if not is_alone:
        with Failing(room, key), turn_of(room.records.folder, attempt.run_id, room.progress.line):
            # While this waited, the run before it may have made the same.
            return make_or_reuse(making, room, tracker, attempt, day, is_alone=True)
    if former:
        room.records.unfinish(former)
    room.progress.passing(f"{key} ...")
    work = Work(key, making.stage, print_, code, making.config, attempt)
    found = _make(making, room, tracker, runs, work, Inputs(upstream, day))
    record = MadeRecord(
        key=key,
        fingerprint=print_,
        run_id=attempt.run_id,
        commit=commit_at(room.project.root, attempt.run_id),
        made_at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        **found,
        **about,
    )
    files = files_at(Path(room.project.root, record.stored.location))
    record = record.model_copy(update={"files": files})
    room.records.write(record)
    room.progress.line(f"{key}: {record.stored.rows} rows, {record.seconds:.1f} s")
    return record, False


def versions_read(making: Making, room: Workshop, day: str = "") -> dict[str, str]:
    """Data versions of what a making is made from; of a day, of what that day sees of it."""
    if making.reads is not None and day:
        return dict(making.reads(room, (day,))[day])
    return room.records.versions(making.upstream)


def fingerprint_now(making: Making, read: Mapping[str, str], also: Mapping[str, str]) -> str:
    """The fingerprint of what would be made now from these versions, and what it reads besides."""
    return fingerprint(versioned(making.code), making.config, {**read, **also})


class Inputs(NamedTuple):
    """Data versions of what something is made from, and the day it is made for."""

    upstream: Mapping[str, str]
    day: str


def _make(
    making: Making,
    room: Workshop,
    tracker: TrackerResource,
    runs: Tracker,
    work: Work,
    inputs: Inputs,
) -> dict[str, Any]:
    """Do the work of a making, with its run open; what its record says of how it went."""
    started, run_id, note = time.perf_counter(), work.attempt.run_id, noting(room, work)
    tags = work.tags(tracker.dagster_url)
    status: Status = "FAILED"
    try:
        with Failing(room, work.key), told_runs(room, tracker, runs, work) as run:
            doing = Doing(work.fingerprint, inputs.upstream, run, runs.uri, tags, note, inputs.day)
            made = making.make(room, doing)
            seconds = time.perf_counter() - started
            run.log_params(making.config)
            run.log_metrics({**numbers(made.stored.facts), "seconds": seconds})
            run.log_dataset(work.key, made.stored.sha256, made.stored.location)
            what = "trained" if making.stage == "trained" else "made"
            data = {"data_version": made.stored.sha256, "from": dict(inputs.upstream)}
            note(what, {**data, "location": made.stored.location})
        status = "FINISHED"
    finally:
        runs.finish_parent(run_id, status)
        outage = runs.outage.take_news()
        if outage:
            room.progress.line(told_outage(runs, outage))
    return {
        "stored": made.stored,
        "tracking_run_id": run.run_id,
        "seconds": seconds,
        "shown": {**made.shown, **tracking_shown(tracker, runs, run)},
    }


def is_there(room: Workshop, record: MadeRecord) -> bool:
    """Whether a record's reference still leads to what was put there."""
    stored = record.stored
    place = Path(room.project.root, stored.location)
    if place.exists():
        changed = first_changed(place, record.files)
        if changed is not None:
            room.progress.line(f"{record.key}: {changed}, so it is made again")
        return changed is None
    return (
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
