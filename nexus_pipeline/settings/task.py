"""What a project's model is to predict: a column of a table, or what happens after a cutoff."""

from collections.abc import Sequence

from pydantic import Field, field_validator

from nexus_model.align.samples import Regime
from nexus_model.schema import Record, TaskKind
from nexus_pipeline.settings.names import stem


class TargetConfig(Record):
    """A static task: the label is a column of one table."""

    target_table: str
    target_column: str
    kind: TaskKind | None = Field(None, description="inferred from the labels if unset")

    @field_validator("target_table")
    @classmethod
    def _stem(cls, value: str) -> str:
        return stem(value)


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
