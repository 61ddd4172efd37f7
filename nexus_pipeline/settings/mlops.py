"""Where runs and models are recorded, and when the project retrains."""

from typing import Literal

from pydantic import Field

from nexus_model.schema import Record


class MlopsConfig(Record):
    """Where runs and models are recorded."""

    experiment_name: str | None = Field(None, description="of MLflow; project_name if unset")
    log_attention_patterns: bool = Field(
        default=False, description="pictures of attention between tables while training"
    )
    attention_every: int = Field(1, gt=0, description="epochs from one picture to the next")
    logging_provider: Literal["mlflow", "wandb"] = Field(
        "mlflow", description="wandb: Weights & Biases beside MLflow, which registers models"
    )
    system_metrics: bool = Field(
        default=True, description="processor, memory, disk and network while models are trained"
    )


class ScheduleConfig(Record):
    """When the retraining job runs, once somebody starts it."""

    cron: str = Field("0 3 * * 1", description="minute, hour, day, month, weekday")
    timezone: str = "UTC"
