"""Where runs are recorded: MLflow, one run per materialization, kept on disk while it is down."""

from nexus_pipeline.tracking.run_log import RunLog
from nexus_pipeline.tracking.tracker import Tracker, tracking_at

__all__ = ["RunLog", "Tracker", "tracking_at"]
