"""What a database is: named tables whose foreign keys resolve."""

from typing import Self

from pydantic import Field, model_validator

from nexus_model.schema.record import Record
from nexus_model.schema.table import TableSpec


class DatabaseSpec(Record):
    """Tables that reference each other; refuses a reference to a table that is not there."""

    tables: tuple[TableSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _references_resolve(self) -> Self:
        names = [table.name for table in self.tables]
        if len(set(names)) != len(names):
            raise ValueError(f"table names must be unique, got {names}")
        for table in self.tables:
            for key in table.foreign_keys:
                if key.references_table not in names:
                    raise ValueError(
                        f"{table.name}.{key.columns} references table "
                        f"{key.references_table!r}, which is not one of {names}"
                    )
        return self

    def __getitem__(self, name: str) -> TableSpec:
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(f"no table {name!r}; tables are {[t.name for t in self.tables]}")

    @property
    def names(self) -> tuple[str, ...]:
        """Table names in declared order."""
        return tuple(table.name for table in self.tables)
