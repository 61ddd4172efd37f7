"""Materialize from Python: the engine behind ``nexusflow train``, the same assets Dagster runs."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from nexus_model.schema import ConfigurationError, NexusError
from nexus_pipeline.assembly import all_makings, build_definitions
from nexus_pipeline.automation.told import innermost
from nexus_pipeline.defs.making import (
    ABLATION,
    ENSEMBLE,
    EVERYTHING,
    MONITORING,
    STAGES,
    open_tracker,
)
from nexus_pipeline.defs.resources import default_resources, home, records_of
from nexus_pipeline.defs.shortage import TellingShortage
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import (
    ProjectConfig,
    ablation_of,
    ensemble_of,
    load_project,
    monitoring_of,
)

DEFAULT_UI = ("http://127.0.0.1:3000", "http://127.0.0.1:5000")
OWNER = "nexusflow.process"
SHIPPED_SETTINGS = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"


class RunFailedError(NexusError):
    """The run stopped; carries the exit code of what stopped it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def materialize(
    file: Path,
    stages: Sequence[str] = STAGES,
    task: str | None = None,
    job: str = EVERYTHING,
    day: str = "",
) -> ProjectConfig:
    """Materialize a job's assets of these stages, of one task if asked; unchanged work is reused.

    Assets that have days are made for ``day``.

    Raises:
        ConfigurationError: the project file is wrong, or has no such task.
        RunFailedError: an asset or a blocking check failed.
        KeyboardInterrupt: Ctrl-C came while it ran; what was made is kept.
    """
    project = load_project(file)
    if task is not None and task not in project.task_names:
        raise ConfigurationError(f"no task {task!r}; tasks are {', '.join(project.task_names)}")
    if job == ABLATION:
        project = project.model_copy(update={"ablation": ablation_of(project)})
    if job == ENSEMBLE:
        project = project.model_copy(update={"ensemble": ensemble_of(project)})
    if job == MONITORING:
        project = project.model_copy(update={"monitoring": monitoring_of(project)})
    run = build_definitions(project).resolve_job_def(f"{project.project_name}_{job}")
    keys = list(_selected(project, stages, task, job))
    ProgressLog.keep_terminal()
    with TellingShortage(), dagster_instance(project) as instance:
        close_killed_runs(project, instance)
        result = run.execute_in_process(
            instance=instance,
            tags={OWNER: f"{socket.gethostname()}:{os.getpid()}"},
            raise_on_error=False,
            asset_selection=keys,
            partition_key=day or None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    if not result.success:
        if _was_stopped(result):
            raise KeyboardInterrupt
        raise _failure(result)
    log_reuse(project, result.run_id, keys, day)
    return project


def log_reuse(
    project: ProjectConfig, run_id: str, asset_keys: Sequence[dg.AssetKey], day: str = ""
) -> None:
    """Say how much was made and how much was unchanged."""
    records = records_of(project)
    keys = ["/".join(key.path) for key in asset_keys]
    found = [records.read(f"{key}/{day}".rstrip("/")) or records.read(key) for key in keys]
    made = sum(record is not None and record.run_id == run_id for record in found)
    sys.stderr.write(f"{len(keys)} assets: {made} made, {len(keys) - made} unchanged and reused\n")


def dagster_instance(project: ProjectConfig) -> dg.DagsterInstance:
    """The instance under DAGSTER_HOME; by default beside the project's other state."""
    folder = Path(os.environ.get("DAGSTER_HOME") or home(project) / "dagster").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists():
        (folder / "dagster.yaml").write_text(SHIPPED_SETTINGS, encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(folder)
    return dg.DagsterInstance.from_config(str(folder))


def close_killed_runs(project: ProjectConfig, instance: dg.DagsterInstance) -> None:
    """Close the runs of processes that are gone: they would count as under way for ever."""
    under_way = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(under_way):
        host, _, pid = run.tags.get(OWNER, "").rpartition(":")
        if host == socket.gethostname() and not _is_alive(int(pid)):
            instance.report_run_failed(run, f"process {pid} is gone")
            instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
            resource = default_resources(project)["tracker"]
            tracker = open_tracker(resource.path, resource.experiment)  # type: ignore[attr-defined]
            tracker.close_run(run.run_id, "KILLED")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _selected(
    project: ProjectConfig, stages: Sequence[str], task: str | None, job: str
) -> Iterator[dg.AssetKey]:
    for making in all_makings(project):
        if making.stage in stages and making.is_in(job) and making.is_of(task):
            yield dg.AssetKey(making.key.split("/"))


def _was_stopped(result: dg.ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C ended the run; Dagster makes a step's failure of it."""
    stopped = "DagsterExecutionInterruptedError"
    failures = result.filter_events(lambda event: event.is_step_failure)
    errors = (event.step_failure_data.error for event in failures)
    return any(error is not None and stopped in (error.cls_name or "") for error in errors)


def _failure(result: dg.ExecuteInProcessResult) -> RunFailedError:
    messages, codes = [], []
    for event in result.filter_events(lambda event: event.is_step_failure):
        failed: Any = event.step_failure_data
        told = failed.user_failure_data
        if told is not None and "exit_code" in told.metadata:
            messages.append(f"{event.step_key}: {told.description}")
            codes.append(int(told.metadata["exit_code"].value))
        else:
            said = innermost(failed.error).message.strip() if failed.error else "failed"
            messages.append(f"{event.step_key}: {said}")
            codes.append(3 if "blocking" in messages[-1].lower() else 1)
    messages += [
        str(found.metadata["told"].value)
        for found in result.get_asset_check_evaluations()
        if not found.passed and found.blocking and "told" in found.metadata
    ]
    return RunFailedError("\n".join(messages) or "the run failed", codes[0] if codes else 1)
