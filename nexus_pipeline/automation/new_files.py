"""The sensor on the raw folder: another content of a raw file asks for a run, once."""

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from nexus_pipeline.automation.retraining import is_in_flight
from nexus_pipeline.defs.resources import records_of
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.csv_text import file_digest
from nexus_pipeline.steps.read_raw import raw_file
from nexus_pipeline.steps.records import MadeRecord

LOADED = "file_sha256"


class Look(NamedTuple):
    """Stamps of the raw files, their contents, and the tables whose file is not the loaded one."""

    seen: dict[str, str]
    digests: dict[str, str]
    changed: tuple[str, ...]
    waiting: tuple[str, ...]


def look_at_files(
    project: ProjectConfig, before: Mapping[str, str], known: Mapping[str, str], now: float
) -> Look:
    """Compare raw files with what was loaded from them.

    ``before`` are stamps (size and time) of the last look and ``known`` the contents found then:
    an untouched file is not read again. A file changed less than ``settled_s`` ago may still be
    written and is left for the next look.
    """
    seen, digests, changed, waiting = {}, {}, [], []
    for dataset in project.datasets:
        table, path = dataset.table, raw_file(project, dataset.table)
        stamp = _stamp(path)
        seen[table] = stamp
        if stamp == "missing":
            digests[table] = stamp
            continue
        if now - path.stat().st_mtime < project.automation.settled_s:
            waiting.append(table)
            continue
        is_known = stamp == before.get(table) and table in known
        digests[table] = known[table] if is_known else file_digest(path)
        record = _raw_record(project, table)
        if record is None or record.stored.facts.get(LOADED) != digests[table]:
            changed.append(table)
    return Look(seen, digests, tuple(changed), tuple(waiting))


def new_files_sensor(
    project: ProjectConfig, job: UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    """Asks for a run when raw files hold something else than was loaded; off until started."""

    @dg.sensor(
        name=f"{project.project_name}_new_files",
        job=job,
        minimum_interval_seconds=project.automation.look_every_s,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Makes everything anew when a raw file has another content.",
    )
    def new_files(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if is_in_flight(context.instance, job.name):
            return dg.SkipReason(f"a run of {job.name} is under way")
        told = json.loads(context.cursor or '{"seen": {}, "digests": {}}')
        look = look_at_files(project, told["seen"], told["digests"], time.time())
        context.update_cursor(json.dumps({"seen": look.seen, "digests": look.digests}))
        if look.waiting:
            return dg.SkipReason(f"still being written: {', '.join(look.waiting)}")
        if not look.changed:
            return dg.SkipReason("every raw file is the one that was loaded")
        why = f"another content of {', '.join(look.changed)}"
        request = dg.RunRequest(run_key=_run_key(project, look), tags={"nexusflow.why": why})
        return dg.SensorResult(run_requests=[request])

    return new_files


def _stamp(path: Path) -> str:
    if not path.is_file():
        return "missing"
    found = path.stat()
    return f"{found.st_size}:{found.st_mtime_ns}"


def _raw_record(project: ProjectConfig, table: str) -> MadeRecord | None:
    return records_of(project).read(f"{project.project_name}/raw/{table}")


def _run_key(project: ProjectConfig, look: Look) -> str:
    """What is there and what was loaded before it: a run that failed is not asked for again, and
    a content that comes back after another one is.
    """
    loaded = {table: _raw_record(project, table) for table in sorted(look.digests)}
    runs = {table: record.run_id if record else "" for table, record in loaded.items()}
    said = json.dumps([look.digests, runs], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()
