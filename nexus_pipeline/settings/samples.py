"""How samples are split, what they see, and how cells become numbers."""

import datetime as dt
from typing import Self

from pydantic import Field, model_validator

from nexus_model.schema import Record
from nexus_model.tokenize.statistics import NumericalScaling


class SplitConfig(Record):
    """By time (two dates) or, for a static task, by entity (two shares and a seed)."""

    validation_from: dt.date | None = None
    test_from: dt.date | None = None
    most_cutoffs: int | None = Field(
        None, gt=0, description="of validation and of test, the earliest; all if unset"
    )
    most_training_samples: int | None = Field(
        None, gt=0, description="of a task in time, drawn by a hash of entity and cutoff"
    )
    validation_size: float = Field(0.2, gt=0, lt=1)
    test_size: float = Field(0.2, gt=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("validation_from and test_from must be given together")
        if self.validation_from and self.test_from and self.validation_from >= self.test_from:
            raise ValueError("validation_from must be before test_from")
        if self.validation_size + self.test_size >= 1:
            raise ValueError("validation_size + test_size must be under 1")
        return self


class AlignmentConfig(Record):
    """How far from the entity rows are gathered, and how many."""

    max_depth: int = Field(2, ge=1, le=4, description="foreign keys crossed from the entity")
    max_rows: int = Field(32, gt=0, description="newest rows per sample and path")
    paths: tuple[tuple[str, ...], ...] = Field(
        (), description="further paths, each a list of tables starting at the entity's child"
    )
    label_history: bool = Field(default=True, description="closed label windows are a child table")


class TokenizationConfig(Record):
    """How cells become numbers."""

    numerical: NumericalScaling = Field(
        NumericalScaling.STANDARD, description="standard, or quantile for heavy tails"
    )
