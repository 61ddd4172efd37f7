"""Tokenized: one asset per task; columns as memory-mapped numbers."""

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.plan import also_asked, also_weight, wanted_by
from nexus_pipeline.steps.text_model import text_model_version, text_settings

CODE = (
    "nexus_model/tokenize",
    "nexus_model/sentences",
    "nexus_model/schema",
    "nexus_pipeline/steps/tokenize_task.py",
    "nexus_pipeline/steps/also_task.py",
    "nexus_pipeline/steps/text_model.py",
)


def tokenized_makings(project: ProjectConfig) -> list[Making]:
    """The tensors of every task."""
    return [_tensors(project, task) for task in project.task_names]


def _tensors(project: ProjectConfig, task: str) -> Making:
    name, also = project.project_name, also_asked(project, task)
    weighed = {"also": also, "weight": also_weight(project, task)} if also else {}

    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.tokenize_task import open_tensors_of, tokenize_task

        stored = tokenize_task(project, task, room.store)
        _, tokenizer = open_tensors_of(project, task)
        columns = {
            table.table: {
                "numerical": [column.name for column in table.numerical],
                "categorical": {c.name: c.size for c in table.categorical},
                "timestamp": [column.name for column in table.temporal],
                "text": [column.name for column in table.text],
            }
            for table in tokenizer.tables
        }
        return Made(stored, {"rows": stored.rows, "columns_by_table": columns})

    return Making(
        key=f"{name}/tokenized/{task}",
        tasks=wanted_by(project, task),
        description="Every table's columns as numbers; statistics from rows training samples see.",
        kinds=frozenset({"numpy"}),
        upstream=(
            f"{name}/aligned/index_{task}",
            f"{name}/aligned/samples_{task}",
            f"{name}/aligned/database",
            *(f"{name}/aligned/samples_{other}" for other in also if project.tasks),
        ),
        code=CODE,
        config={
            **project.tokenization.model_dump(mode="json"),
            **weighed,
            **text_settings(project),
        },
        make=make,
        also=lambda _: text_model_version(project),
    )


def tokenized_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """One fact per task."""

    def fact(task: str) -> dg.AssetChecksDefinition:
        def every_number_is_finite(room: Workshop) -> Outcome:
            import numpy as np

            from nexus_pipeline.steps.tokenize_task import open_tensors_of

            tensors, _ = open_tensors_of(room.project, task)
            bad = {
                name: int((~np.isfinite(table.numerical_RC)).sum())
                for name, table in tensors.tables.items()
            }
            return Outcome(not any(bad.values()), {"not_finite": bad})

        key = f"{project.project_name}/tokenized/{task}"
        return build_check(project, key, every_number_is_finite)

    return [fact(task) for task in project.task_names]
