"""What an evaluation leaves for whoever serves: read without loading the model."""

from pathlib import Path

from pydantic import Field

from nexus_model.schema import Record
from nexus_pipeline.project import ProjectConfig

MODEL = "nexusformer"


class Evaluation(Record):
    """What serving needs to know of an evaluation.

    ``slices`` are the model's scores on parts of the validation samples, by ``segment = value``.
    """

    metric: str
    artifact_sha256: str
    data_fingerprint: str
    commit: str
    by_split: dict[str, dict[str, float]]
    slices: dict[str, float] = Field(default_factory=dict)
    calibration_error: float | None = None

    def scores(self, split: str) -> dict[str, float]:
        """The primary metric of every model on a split."""
        return self.by_split[split]


def evaluation_folder(project: ProjectConfig, task: str) -> Path:
    """Where a task's report is."""
    return project.stage_folder("evaluated", task)


def read_evaluation(project: ProjectConfig, task: str) -> Evaluation:
    """The summary ``evaluate_task`` wrote."""
    path = evaluation_folder(project, task) / "evaluation.json"
    return Evaluation.model_validate_json(path.read_text(encoding="utf-8"))
