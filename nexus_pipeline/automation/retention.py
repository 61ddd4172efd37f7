"""The retention job: old versions of the project's models are removed; off until started."""

from typing import Any

import dagster as dg

from nexus_pipeline.defs.making import open_tracker
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.tracking.resource import TrackerResource

CRON = "0 5 * * 0"


def retention_job(project: ProjectConfig) -> dg.JobDefinition:
    """A job of one step: what ``nexusflow models prune`` does."""

    @dg.op(name=f"{project.project_name}_remove_old_versions")
    def remove_old_versions(context: dg.OpExecutionContext, tracker: TrackerResource) -> None:
        from nexus_pipeline.steps.champion import model_name
        from nexus_pipeline.steps.retention import remove_from_all

        client = open_tracker(tracker.path, tracker.experiment).client
        names = [model_name(project, task) for task in project.task_names]
        done = remove_from_all(client, names, project.automation.keep_versions)
        removals: dict[str, Any] = {one.name: ", ".join(one.removed) or "none" for one in done}
        context.log.info("removed versions: %s", removals)
        context.add_output_metadata(removals)

    @dg.job(
        name=f"{project.project_name}_retention",
        description="Removes registered versions nobody needs any more, and their files.",
    )
    def retention() -> None:
        remove_old_versions()

    return retention


def retention_schedule(project: ProjectConfig, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Weekly, once somebody switched it on."""
    return dg.ScheduleDefinition(
        name=job.name,
        job=job,
        cron_schedule=CRON,
        execution_timezone=project.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
