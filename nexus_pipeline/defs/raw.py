"""Raw: one asset per file; typed rows in the order of the file."""

from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.shown import table_shown
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.read_raw import raw_file
from nexus_pipeline.steps.stored import stored_table

CODE = ("nexus_pipeline/steps/read_raw.py", "nexus_pipeline/steps/csv_text.py")


def raw_makings(project: ProjectConfig) -> list[Making]:
    """The raw tables of a project."""
    return [_raw_table(project, dataset.table) for dataset in project.datasets]


def _raw_table(project: ProjectConfig, table: str) -> Making:
    path = raw_file(project, table)

    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.read_raw import read_raw

        read = read_raw(project, table, room.store)
        reference = stored_table(room.store, f"raw.{table}", {"file_sha256": read.sha256})
        return Made(reference, table_shown(room.store, f"raw.{table}"))

    def file_hash(tracking_uri: str) -> dict[str, str]:  # noqa: ARG001 - all are called alike
        from nexus_pipeline.steps.csv_text import file_digest

        return {"file": file_digest(path) if path.is_file() else "missing"}

    return Making(
        key=f"{project.project_name}/raw/{table}",
        description=f"Rows of {path.name} as they are, typed, numbered in the file's order.",
        kinds=frozenset({"duckdb", path.suffix.removeprefix(".") or "file"}),
        upstream=(),
        code=CODE,
        config={"path": str(project[table].path or path.name)},
        make=make,
        also=file_hash,
    )
