"""Recipe: everything alignment needs, as data, so that pipeline and prediction cook alike."""

from pydantic import Field

from nexus_model.align.paths import RelationPath
from nexus_model.align.samples import Grid
from nexus_model.schema import DatabaseSpec, Record, TableSpec, TaskSpec


class RawColumn(Record):
    """A column that must be there, and the DuckDB type it is cast to."""

    name: str
    type: str = Field(pattern=r"^[^;]+$")
    filled: bool = Field(default=False, description="no cell was empty when the recipe was made")


class RawTable(Record):
    """A validated table as it enters alignment."""

    name: str
    columns: tuple[RawColumn, ...]


class SqlText(Record):
    """One SQL model: a single SELECT that gives ``aligned.<name>``."""

    name: str
    sql: str


class PathPlan(Record):
    """A relation path and how many of its newest rows a sample sees."""

    path: RelationPath
    max_rows: int = Field(gt=0)


class Recipe(Record):
    """From validated tables to the index of one task.

    ``models`` are in the order they must run; a table of ``database`` without a model of its name
    is its validated table. ``labels`` names the model that gives the labels of a temporal task,
    ``grid`` and ``cutoffs`` the moments it is asked at; all are None for a static task.
    """

    raw: tuple[RawTable, ...]
    models: tuple[SqlText, ...] = ()
    database: DatabaseSpec
    task: TaskSpec
    plans: tuple[PathPlan, ...]
    labels: str | None = None
    grid: Grid | None = None
    cutoffs: str | None = Field(None, description="name of the table of cutoffs the labels read")
    history: str | None = Field(None, description="name of the label history table, if any")

    @property
    def entity(self) -> TableSpec:
        """The table asked about."""
        return self.database[self.task.entity_table]

    @property
    def paths(self) -> tuple[RelationPath, ...]:
        """Paths in order."""
        return tuple(plan.path for plan in self.plans)

    @property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """Referenced table of each foreign key, by table."""
        return {
            table.name: tuple(key.references_table for key in table.foreign_keys)
            for table in self.database.tables
        }

    def model(self, name: str) -> str | None:
        """SQL of a model, or None."""
        return next((model.sql for model in self.models if model.name == name), None)
