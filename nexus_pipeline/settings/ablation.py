"""What the ablation tries, as the project file says."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from nexus_model.schema import Record
from nexus_pipeline.settings.names import Names, Parted


class AblationGroup(StrEnum):
    """Kinds of variants."""

    BLOCKS = "blocks"
    RELATIONS = "relations"
    CYCLES = "cycles"
    EXPERTS = "experts"
    ENCODERS = "encoders"
    TABLES = "tables"
    PRETRAINING = "pretraining"
    LABELS = "labels"


class AblationConfig(Record):
    """Trainings of the model with one thing changed, compared on validation."""

    seeds: int = Field(1, gt=0, description="trainings of each variant")
    groups: Annotated[tuple[AblationGroup, ...], Parted] = Field(
        tuple(AblationGroup), description="kinds of variants"
    )
    only: Names = Field((), description="of these groups the variants of these names; all if unset")
    epochs: int | None = Field(None, gt=0, description="training's if unset")
