"""Resources every asset is given, and what they become inside a run."""

import os
from pathlib import Path
from typing import NamedTuple

import dagster as dg
from pydantic import Field

from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.records import Records
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.resource import StoreResource
from nexus_pipeline.tracking.resource import TrackerResource


class ProgressResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """One line per step in a log file; a live line where there is a terminal."""

    file: str = Field(description="log file")

    def log(self) -> ProgressLog:
        """The log."""
        return ProgressLog(Path(self.file))


class Workshop(NamedTuple):
    """What the work of one asset is done with."""

    project: ProjectConfig
    store: Store
    records: Records
    progress: ProgressLog


def home(project: ProjectConfig) -> Path:
    """Where Dagster, MLflow and logs keep their own state: ``.nexus`` unless NEXUS_HOME says."""
    return project.home


def default_resources(project: ProjectConfig) -> dict[str, dg.ConfigurableResource]:  # type: ignore[type-arg]
    """Resources of a project where nothing else is said."""
    state = home(project)
    return {
        "store": StoreResource(
            database=str(project.data / "raw" / f"{project.project_name}.duckdb"),
            threads=2,
            memory_limit=os.environ.get("NEXUS_STORE_MEMORY") or None,
        ),
        "tracker": TrackerResource(
            path=str(state / "mlflow" / "mlflow.db"),
            experiment=project.mlops.experiment_name or project.project_name,
        ),
        "progress": ProgressResource(file=str(state / "logs" / f"{project.project_name}.log")),
    }


def records_of(project: ProjectConfig) -> Records:
    """What is known of the project's assets."""
    return Records(project.stage_folder("records"))


def workshop(project: ProjectConfig, store: StoreResource, progress: ProgressResource) -> Workshop:
    """The workshop of one run."""
    return Workshop(project, store.store(), records_of(project), progress.log())
