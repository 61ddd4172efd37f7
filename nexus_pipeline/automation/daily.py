"""Daily schedules: the last whole day of the jobs that have a day each; off until started."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from nexus_pipeline.defs.making import BATCH, MONITORING
from nexus_pipeline.project import ProjectConfig

HOURS = {BATCH: 6, MONITORING: 7}


def daily_schedules(
    project: ProjectConfig, jobs: Mapping[str, UnresolvedAssetJobDefinition]
) -> list[Any]:
    """A schedule for each such job the project has; predictions of a day before its monitoring.

    A project without time has no days: its monitoring is made every morning.
    """
    found = {name: hour for name, hour in HOURS.items() if name in jobs}
    return [_schedule(project, jobs[name], name, hour) for name, hour in found.items()]


def _schedule(
    project: ProjectConfig, job: UnresolvedAssetJobDefinition, name: str, hour: int
) -> Any:
    own, off = f"{project.project_name}_{name}_daily", dg.DefaultScheduleStatus.STOPPED
    if project.tasks:
        return dg.build_schedule_from_partitioned_job(
            job, name=own, hour_of_day=hour, default_status=off
        )
    return dg.ScheduleDefinition(
        name=own,
        job=job,
        cron_schedule=f"0 {hour} * * *",
        execution_timezone=project.schedule.timezone,
        default_status=off,
    )
