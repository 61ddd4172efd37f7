"""What a project's model is to predict: a column of a table, or what happens after a cutoff."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from nexus_model.align.samples import Regime
from nexus_model.schema import Record, TaskKind
from nexus_pipeline.settings.names import Names, stem

AlsoWeight = Annotated[
    float,
    Field(gt=0, description="of the loss of each label of also_predict, the task's own being 1"),
]

Quantiles = Annotated[
    tuple[float, ...],
    Field(
        description="of kind quantile: shares of labels that lie below each number predicted, "
        "rising; 0.1, 0.5, 0.9 if unset"
    ),
]
USUAL_QUANTILES = (0.1, 0.5, 0.9)


def asked_quantiles(kind: TaskKind | None, said: tuple[float, ...]) -> tuple[float, ...]:
    """The quantiles of a task of this kind, the usual ones if none are said.

    Raises:
        ValueError: another kind has some, or they do not rise between 0 and 1, or two are one in
            the name of a column.
    """
    if kind is not TaskKind.QUANTILE:
        if said:
            told = "kind is not said" if kind is None else f"not to kind {kind}"
            raise ValueError(f"quantiles belong to kind quantile; {told}")
        return ()
    if not all(low < high for low, high in pairwise((0.0, *said, 1.0))):
        raise ValueError(f"quantiles must rise between 0 and 1, got {list(said)}")
    if len({f"{level:g}" for level in said}) != len(said):
        raise ValueError(f"quantiles must differ in their first six digits, got {list(said)}")
    return said or USUAL_QUANTILES


class TargetConfig(Record):
    """A static task: the label is a column of one table."""

    target_table: str
    target_column: str
    kind: TaskKind | None = Field(
        None, description="inferred from the labels if unset; never inferred to be quantile"
    )
    quantiles: Quantiles = ()
    also_predict: Names = Field(
        (),
        description="other columns of the table that training learns to tell beside the target; "
        "like the target they are hidden from the inputs",
    )
    also_weight: AlsoWeight = 1.0

    @field_validator("target_table")
    @classmethod
    def _stem(cls, value: str) -> str:
        return stem(value)

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        labels = (self.target_column, *self.also_predict)
        if len(set(labels)) != len(labels):
            raise ValueError(f"also_predict must name other columns, each once, got {labels[1:]}")
        return self

    @model_validator(mode="after")
    def _quantiles_belong(self) -> Self:
        asked_quantiles(self.kind, self.quantiles)
        return self


class TaskConfig(Record):
    """A temporal task, its labels given by the SQL model ``aligned/<sql>.sql``.

    The model must give one row per entity and cutoff: the entity table's primary key columns,
    ``cutoff`` and ``label``. It reads ``aligned.cutoffs_<name>(cutoff, window_end)``.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    entity_table: str
    kind: TaskKind
    horizon_days: int = Field(gt=0)
    step_days: int | None = Field(None, gt=0, description="days between cutoffs; horizon if unset")
    training_step_days: int | None = Field(
        None, gt=0, description="days between training cutoffs; step_days if unset"
    )
    sql: str = Field(description="name of the SQL model that gives the labels")
    classes: Names = Field(
        (), description="of a multiclass task: names of the labels 0, 1, 2, ... in that order"
    )
    quantiles: Quantiles = ()
    regimes: tuple[Regime, ...] = Field(
        (Regime.SEED_TIME,),
        min_length=1,
        description="what evaluation may know, each a task of its own: seed_time, all up to a "
        "sample's cutoff; frozen (the task's name ends in _frozen), what was known when its split "
        "began",
    )
    stale_copies: int = Field(
        2, ge=0, description="of frozen: training samples repeated as of an earlier moment"
    )

    start_from: dict[Regime, str] = Field(
        default_factory=dict,
        description="by regime another task about the same entities; training starts from the "
        "weights of its model of that regime, where tables and values are the same",
    )

    also_predict: Names = Field(
        (),
        description="other tasks about the same entities; training learns their labels of the same "
        "entity and cutoff as well, where there is one",
    )
    also_weight: AlsoWeight = 1.0

    @model_validator(mode="after")
    def _classes_are_named(self) -> Self:
        several = len(self.classes) > 1 and len(set(self.classes)) == len(self.classes)
        if self.kind is TaskKind.MULTICLASS and not several:
            raise ValueError(
                "a multiclass task in time needs classes: at least two different names, of the "
                f"labels 0, 1, ...; got {list(self.classes)}"
            )
        if self.kind is not TaskKind.MULTICLASS and self.classes:
            raise ValueError(f"classes belong to a multiclass task, not to kind {self.kind}")
        return self

    @model_validator(mode="after")
    def _quantiles_belong(self) -> Self:
        asked_quantiles(self.kind, self.quantiles)
        return self

    @property
    def names(self) -> dict[str, Regime]:
        """Task names and their regimes."""
        frozen = Regime.FROZEN
        return {self.name + f"_{frozen}" * (regime is frozen): regime for regime in self.regimes}


def check_origins(tasks: Sequence[TaskConfig]) -> None:
    """Whether each task that starts from another's weights can.

    Raises:
        ValueError: the other is no task, lacks a regime, is about other entities, or itself starts
            from a third.
    """
    known = {task.name: task for task in tasks}
    for task in tasks:
        for regime, name in task.start_from.items():
            said, origin = f"tasks.{task.name}.start_from.{regime}", known.get(name)
            if origin is None or origin is task:
                raise ValueError(f"{said} must name another task, got {name!r}")
            if origin.start_from:
                raise ValueError(f"{said}: {name} itself starts from another")
            if origin.entity_table != task.entity_table:
                raise ValueError(f"{said}: {name} is about {origin.entity_table}")
            if not {regime} <= {*task.regimes} & {*origin.regimes}:
                raise ValueError(f"{said}: both tasks must have this regime")


def check_also(tasks: Sequence[TaskConfig]) -> None:
    """Whether each task's further tasks are others about the same entities.

    Raises:
        ValueError: one is not, or is named twice.
    """
    known = {task.name: task for task in tasks}
    for task in tasks:
        said = f"tasks.{task.name}.also_predict"
        if len(set(task.also_predict)) != len(task.also_predict):
            raise ValueError(f"{said} must name each task once, got {list(task.also_predict)}")
        for name in task.also_predict:
            other = known.get(name)
            if other is None or other is task:
                raise ValueError(f"{said} must name other tasks, got {name!r}")
            if other.entity_table != task.entity_table:
                raise ValueError(f"{said}: {name} is about {other.entity_table}")
