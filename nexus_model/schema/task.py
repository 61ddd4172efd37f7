"""What is predicted: for an entity at a cutoff, a label over the window that follows."""

from enum import StrEnum

from pydantic import Field

from nexus_model.schema.record import Record


class TaskKind(StrEnum):
    """Which head, loss and metrics a task takes."""

    REGRESSION = "regression"
    BINARY = "binary"
    MULTICLASS = "multiclass"


class TaskSpec(Record):
    """One prediction task over the rows of one table.

    ``horizon_days`` is the length of the label window ``(cutoff, cutoff + horizon_days]``;
    ``None`` means a static task, whose label is a column of the entity table and whose samples
    have no cutoff. ``classes`` lists the label values in output order; empty for regression.
    """

    name: str
    kind: TaskKind
    entity_table: str
    horizon_days: int | None = Field(None, gt=0)
    target_column: str | None = None
    classes: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """How many numbers the head gives per sample."""
        return len(self.classes) if self.kind is TaskKind.MULTICLASS else 1
