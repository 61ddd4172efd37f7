"""When: the job that makes everything, and the retraining schedule, stopped until started."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from nexus_pipeline.project import ProjectConfig


def everything_job(project: ProjectConfig) -> UnresolvedAssetJobDefinition:
    """All assets and checks of a project; what is unchanged is reused."""
    return dg.define_asset_job(
        f"{project.project_name}_everything",
        selection=dg.AssetSelection.all(),
        description="Every asset from raw to served; unchanged work is recognised and reused.",
    )


def retraining_schedule(
    project: ProjectConfig, job: UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    """Retrains by the project's cron line; somebody has to switch it on."""
    return dg.ScheduleDefinition(
        name=f"{project.project_name}_retraining",
        job=job,
        cron_schedule=project.schedule.cron,
        execution_timezone=project.schedule.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
