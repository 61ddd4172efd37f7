"""What is predicted: for an entity at a cutoff, a label over the window that follows."""

from enum import StrEnum
from itertools import pairwise
from typing import Self, assert_never

from pydantic import Field, model_validator

from nexus_model.schema.record import Record


class TaskKind(StrEnum):
    """Which head, loss and metrics a task takes."""

    REGRESSION = "regression"
    QUANTILE = "quantile"
    BINARY = "binary"
    MULTICLASS = "multiclass"

    @property
    def is_number(self) -> bool:
        """The label is a number to come near to, not a class."""
        return self in {TaskKind.REGRESSION, TaskKind.QUANTILE}


class TaskSpec(Record):
    """One prediction task over the rows of one table.

    ``horizon_days`` is the length of the label window ``(cutoff, cutoff + horizon_days]``;
    ``None`` means a static task, whose label is a column of the entity table and whose samples
    have no cutoff. ``classes`` lists the label values in output order; empty for numbers.
    ``quantiles`` are the shares asked for, rising, of a quantile task.
    """

    name: str
    kind: TaskKind
    entity_table: str
    horizon_days: int | None = Field(None, gt=0)
    target_column: str | None = None
    classes: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _quantiles_rise(self) -> Self:
        if (self.kind is TaskKind.QUANTILE) != bool(self.quantiles):
            raise ValueError(
                f"quantiles belong to a quantile task, got {self.quantiles} for {self.kind}"
            )
        rising = all(a < b for a, b in pairwise((0.0, *self.quantiles, 1.0)))
        if self.quantiles and not rising:
            raise ValueError(f"quantiles must rise between 0 and 1, got {self.quantiles}")
        return self

    @property
    def middle(self) -> int:
        """Which of the quantiles stands for all of them: the one nearest to the median.

        Of two that are equally near, the upper one.
        """
        far = [round(abs(share - 0.5), 9) for share in self.quantiles]
        return max(at for at, one in enumerate(far) if one == min(far))

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Columns beside ``prediction``, one an output; none where that says all.

        >>> TaskSpec(name="t", kind="quantile", entity_table="e", quantiles=[0.5]).output_columns
        ('quantile_0.5',)
        """
        match self.kind:
            case TaskKind.MULTICLASS:
                return tuple(f"probability_{name}" for name in self.classes)
            case TaskKind.QUANTILE:
                return tuple(f"quantile_{level:g}" for level in self.quantiles)
            case TaskKind.REGRESSION | TaskKind.BINARY:
                return ()
            case _ as unreachable:
                assert_never(unreachable)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Shape of a sample's prediction: a plain number, or one a class or quantile."""
        return () if self.kind in {TaskKind.REGRESSION, TaskKind.BINARY} else (self.outputs,)

    @property
    def outputs(self) -> int:
        """How many numbers the head gives per sample."""
        match self.kind:
            case TaskKind.MULTICLASS:
                return len(self.classes)
            case TaskKind.QUANTILE:
                return len(self.quantiles)
            case TaskKind.REGRESSION | TaskKind.BINARY:
                return 1
            case _ as unreachable:
                assert_never(unreachable)
