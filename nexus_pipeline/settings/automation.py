"""The automation section of the project file."""

from typing import Literal

from pydantic import Field

from nexus_model.schema import Record


class AutomationConfig(Record):
    """What runs by itself, once somebody switched it on on Dagster's page."""

    executor: Literal["in_process", "multiprocess"] = Field(
        "in_process",
        description="`multiprocess` runs each step in a process of its own, forked from one that "
        "has loaded the libraries: memory comes back after every step, starting costs seconds",
    )
    look_every_s: int = Field(60, ge=5, description="seconds between looks at the raw files")
    settled_s: float = Field(
        5.0, ge=0, description="a raw file younger than this may still be written, and waits"
    )
    keep_versions: int = Field(
        20, ge=1, description="registered versions the retention job leaves of each model, besides "
        "those with an alias and the one a rollback returns to",
    )  # fmt: skip
