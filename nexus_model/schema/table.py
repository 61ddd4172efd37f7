"""What one table is: columns with a meaning, keys, and the column that dates its rows."""

from typing import Self

from pydantic import Field, model_validator

from nexus_model.schema.record import Record
from nexus_model.schema.semantic_type import SemanticType


class ColumnSpec(Record):
    """A feature column. Keys and the time column are not features."""

    name: str
    semantic: SemanticType


class ForeignKey(Record):
    """Columns of this table whose values name a row of another (or the same) table."""

    columns: tuple[str, ...] = Field(min_length=1)
    references_table: str
    references_columns: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _columns_pair_up(self) -> Self:
        if len(self.columns) != len(self.references_columns):
            raise ValueError(
                f"foreign key {self.columns} must name as many referenced columns, "
                f"got {self.references_columns}"
            )
        return self

    @property
    def label(self) -> str:
        """A short unique name within the table, such as ``driverId>drivers``."""
        return f"{'+'.join(self.columns)}>{self.references_table}"


class TableSpec(Record):
    """One table as the model sees it.

    >>> spec = TableSpec(name="orders", primary_key=("id",), time_column="placed_at")
    >>> spec.key_columns
    ('id',)
    """

    name: str
    columns: tuple[ColumnSpec, ...] = ()
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    time_column: str | None = None

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Primary and foreign key columns in order, each once."""
        names = [*self.primary_key, *(c for key in self.foreign_keys for c in key.columns)]
        return tuple(dict.fromkeys(names))

    def columns_of(self, semantic: SemanticType) -> tuple[str, ...]:
        """Names of the feature columns with this meaning, in declared order."""
        return tuple(column.name for column in self.columns if column.semantic is semantic)
