"""The validation section of the project file."""

from typing import Literal

from pydantic import Field

from nexus_model.schema import Record


class AcceptedLeak(Record):
    """A column, or the rows of a table, that may tell the label as well as it does, and why."""

    name: str = Field(description="table.column, or a table: whether it has rows, and how many")
    reason: str = Field(min_length=1, description="why it is known when the question is asked")


class ValidationConfig(Record):
    """How wide proposed expectations are, and from when on a column is too good to be true."""

    range_margin: float = Field(
        0.5, ge=0, description="of a number's span, left on both sides of a proposed range"
    )
    volume_margin: float = Field(
        0.5, gt=0, description="share of rows more or less that a proposal allows"
    )
    most_values: int = Field(
        30, gt=0, description="different values of a category up to which a proposal lists them"
    )
    newest_behind: Literal["database", "now"] = Field(
        "database",
        description="what a proposal compares a table's newest row with: the newest of all "
        "tables, or, where files arrive steadily, the present",
    )
    too_good: float = Field(
        0.98,
        gt=0.5,
        le=1,
        description="AUROC, correlation or share told, beyond which one column stops training",
    )
    accepted_leaks: tuple[AcceptedLeak, ...] = Field(
        (), description="what looks like a leak and is none, each with its reason"
    )
