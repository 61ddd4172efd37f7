"""What a partition of a day reads: late data makes anew the days that see it, and no other."""

import datetime as dt

from nexus_model.align.relate import quoted
from nexus_pipeline.defs.aligned import SqlProject
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.task import TaskConfig


def label_reads(
    project: ProjectConfig, sql: SqlProject, task: TaskConfig, room: Workshop, days: tuple[str, ...]
) -> dict[str, dict[str, str]]:
    """By day, the version of what is dated until its window closes, and whether it has closed."""
    from nexus_pipeline.steps.daily_labels import data_reaches

    until = data_reaches(project, task, room.store)
    horizon = dt.timedelta(days=task.horizon_days)
    apart = [read for read in sql.models[task.sql].depends_on if read.startswith("validated.")]
    keys = [f"{project.project_name}/{read.replace('.', '/')}" for read in apart]
    whole = room.records.versions(keys)
    found = reads_until(project, room, days, horizon)
    for day, read in found.items():
        closes = dt.datetime.fromisoformat(day) + horizon
        read |= {**whole, "closed": str(until is not None and closes <= until)}
    return found


def reads_until(
    project: ProjectConfig,
    room: Workshop,
    days: tuple[str, ...],
    later: dt.timedelta = dt.timedelta(),
) -> dict[str, dict[str, str]]:
    """By day, the version of what is dated until its start, or until a time later."""
    from nexus_pipeline.steps.align import read_database
    from nexus_pipeline.steps.day_version import day_versions

    moments = [dt.datetime.fromisoformat(day) + later for day in days]
    found = day_versions(room.store, read_database(project), moments)
    return {day: {"until": version} for day, version in zip(days, found, strict=True)}


def prediction_reads(
    project: ProjectConfig, task: str, room: Workshop, days: tuple[str, ...]
) -> dict[str, dict[str, str]]:
    """By day, the version of what is dated until its start; with cohorts, also who is asked."""
    found = reads_until(project, room, days)
    if not project.architecture.cohort_attention:
        return found
    keys = ", ".join(quoted(key) for key in project[_entity(project, task)].primary_key)
    samples = f"aligned.{quoted('samples_' + task)}"
    asked = (
        f"select count(*), bit_xor(hash({keys}, cutoff)) from {samples} "
        f"where cutoff = (select max(cutoff) from {samples} where cutoff <= ?)"
    )
    with room.store.read() as con:
        for day, read in found.items():
            moment = dt.datetime.fromisoformat(day)
            read["asked"] = str(con.execute(asked, [moment]).fetchall()[0])
    return found


def _entity(project: ProjectConfig, task: str) -> str:
    return next(config.entity_table for config in project.tasks if task in config.names)
