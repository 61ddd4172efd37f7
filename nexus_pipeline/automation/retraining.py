"""The retraining schedule: a run of everything, if anything would be made."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from nexus_pipeline.automation.pending import pending, seen_through
from nexus_pipeline.defs.making import Making
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.storage import StoreLockedError

NAMED = 3
IN_FLIGHT = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)


def retraining_schedule(
    project: ProjectConfig,
    makings: tuple[Making, ...],
    job: UnresolvedAssetJobDefinition,
    resources: Mapping[str, Any],
) -> dg.ScheduleDefinition:
    """Retrains by the project's cron line; somebody has to switch it on.

    A tick looks through the ``resources`` that runs are given, without starting one.
    """

    @dg.schedule(
        name=f"{project.project_name}_retraining",
        job=job,
        cron_schedule=project.schedule.cron,
        execution_timezone=project.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Makes what is not up to date; a tick that finds nothing is skipped.",
    )
    def retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if is_in_flight(context.instance, job.name):
            return dg.SkipReason(f"a run of {job.name} is under way")
        room, uri = seen_through(project, resources)
        try:
            due = pending(room, makings, uri)
        except StoreLockedError as error:
            return dg.SkipReason(str(error))
        if not due:
            return dg.SkipReason("nothing changed since the last run")
        named = ", ".join(due[:NAMED]) + (", ..." if len(due) > NAMED else "")
        return dg.RunRequest(tags={"nexusflow.why": f"{len(due)} assets to make: {named}"})

    return retraining


def is_in_flight(instance: dg.DagsterInstance, job_name: str) -> bool:
    """Whether a run of the job is queued or under way."""
    asked = dg.RunsFilter(job_name=job_name, statuses=list(IN_FLIGHT))
    return bool(instance.get_run_ids(asked, limit=1))
