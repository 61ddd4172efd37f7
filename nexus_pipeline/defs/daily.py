"""Daily labels: a partition a day, made by the task's own label model."""

from nexus_pipeline.defs.aligned import SqlProject
from nexus_pipeline.defs.day_reads import label_reads
from nexus_pipeline.defs.making import BATCH, Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.task import TaskConfig

LABEL_CODE = ("nexus_pipeline/steps/daily_labels.py", "nexus_pipeline/sql")


def daily_labels(project: ProjectConfig, sql: SqlProject) -> list[Making]:
    """The labels of every temporal task, asked at the start of each day."""
    return [_labels(project, sql, task) for task in project.tasks]


def _labels(project: ProjectConfig, sql: SqlProject, task: TaskConfig) -> Making:
    name = project.project_name

    def make(room: Workshop, doing: Doing) -> Made:
        from nexus_pipeline.steps.daily_labels import label_day

        stored = label_day(project, task, sql.models, room.store, doing.day)
        return Made(stored, {"rows": stored.rows})

    return Making(
        key=f"{name}/aligned/labels_daily_{task.name}",
        tasks=frozenset(task.names),
        description="Who was asked about at the start of a day, and what came of it; empty until "
        "the day's window has closed.",
        kinds=frozenset({"duckdb", "parquet"}),
        upstream=(f"{name}/aligned/database", f"{name}/aligned/{task.sql}"),
        code=LABEL_CODE,
        config={"sql": sql.models[task.sql].sql, "horizon_days": task.horizon_days},
        make=make,
        job=BATCH,
        daily_from=project.split.test_from,
        reads=lambda room, days: label_reads(project, sql, task, room, days),
    )
