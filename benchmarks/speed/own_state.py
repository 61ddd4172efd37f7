"""Runs of a benchmark keep Dagster's and MLflow's state beside the project they are of."""

import os
from pathlib import Path


def keep_state_in(folder: Path) -> None:
    """From here on, in this process and those it starts."""
    os.environ["NEXUS_HOME"] = str(folder / ".nexus")
    os.environ["DAGSTER_HOME"] = str(folder / ".nexus" / "dagster")
