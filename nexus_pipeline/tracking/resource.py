"""The tracker as a Dagster resource; making it asks no server anything."""

from pathlib import Path

from dagster import ConfigurableResource
from pydantic import Field

from nexus_pipeline.tracking.tracker import Tracker


class TrackerResource(ConfigurableResource[Tracker]):
    """MLflow runs of one experiment."""

    path: str = Field(description="SQLite file, used unless MLFLOW_TRACKING_URI names a server")
    experiment: str = Field(description="name of the MLflow experiment")
    ui_url: str = Field(
        default="http://127.0.0.1:5000", description="where the MLflow UI is served"
    )
    dagster_url: str = Field(
        default="http://127.0.0.1:3000", description="where the Dagster UI is served"
    )

    def tracker(self) -> Tracker:
        """The tracker behind this resource."""
        return Tracker(Path(self.path), self.experiment)
