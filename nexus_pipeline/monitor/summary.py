"""What a monitoring run found, in the few words an alarm needs; read without any model.

``drift_alarm`` is for whoever acts on drift. Nothing heavy is imported here.
"""

from pathlib import Path

from pydantic import Field

from nexus_model.schema import Record
from nexus_pipeline.project import ProjectConfig

SUMMARY = "summary.json"
LATEST = "latest"


class DriftSummary(Record):
    """One day of one task; ``moved`` names columns as ``table.column``, most important first.

    ``data_version`` is the hash of the tables as far as they are dated until the day, so it stays
    while no row is added before it; ``champion`` the version of the
    model whose training data they were compared with. ``alarm`` is set by moved inputs,
    predictions, labels, volumes, by novel entities and by a live metric that fell.
    """

    project: str
    task: str
    day: str = Field(description="YYYY-MM-DD; empty for a task without time")
    alarm: bool
    moved: tuple[str, ...]
    told: str = Field(description="one sentence")
    champion: str
    data_version: str


def drift_folder(project: ProjectConfig, task: str, day: str = "") -> Path:
    """Where the monitoring of a day is."""
    return project.stage_folder("evaluated", f"drift_{task}", day or LATEST)


def drift_alarm(project: ProjectConfig, task: str, day: str = "") -> DriftSummary | None:
    """What monitoring found on a day; None where that day was not monitored.

    A task without time has no days: its last result is read. The result is there whether or not
    it is an alarm; ``.alarm`` says.
    """
    path = drift_folder(project, task, day) / SUMMARY
    return DriftSummary.model_validate_json(path.read_text("utf-8")) if path.is_file() else None


def latest_drift(project: ProjectConfig, task: str) -> DriftSummary | None:
    """The newest day that was monitored; None if none was."""
    folder = project.stage_folder("evaluated", f"drift_{task}")
    days = sorted(path.parent.name for path in folder.glob(f"*/{SUMMARY}"))
    if not days:
        return None
    return drift_alarm(project, task, "" if days[-1] == LATEST else days[-1])
