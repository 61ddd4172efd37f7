"""What a table promises: columns with type and meaning, keys, time; stored as JSON."""

import datetime as dt
from functools import cache
from typing import TYPE_CHECKING

from nexus_model.schema import ConfigurationError, ForeignKey, Record
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.dataset import OrphanPolicy
from nexus_pipeline.steps.column_types import (
    ColumnContract,
    ColumnRole,
    assert_known,
    infer_columns,
    semantic_overrides,
)
from nexus_pipeline.steps.without_pyspark import without_pyspark
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.tables import table_columns

if TYPE_CHECKING:
    import pandera.polars as pa
    import polars as pl

# Nanoseconds since 1970 in 64 bits reach from 1677 to 2262.
EARLIEST, LATEST = dt.datetime(1677, 9, 22), dt.datetime(2262, 4, 11)


@cache
def _polars_types() -> "dict[str, pl.DataType]":
    import polars as pl

    return {
        "BOOLEAN": pl.Boolean(),
        "TINYINT": pl.Int8(),
        "SMALLINT": pl.Int16(),
        "INTEGER": pl.Int32(),
        "BIGINT": pl.Int64(),
        "UTINYINT": pl.UInt8(),
        "USMALLINT": pl.UInt16(),
        "UINTEGER": pl.UInt32(),
        "UBIGINT": pl.UInt64(),
        "FLOAT": pl.Float32(),
        "DOUBLE": pl.Float64(),
        "VARCHAR": pl.String(),
        "DATE": pl.Date(),
        "TIMESTAMP": pl.Datetime("us"),
        "TIMESTAMP_MS": pl.Datetime("ms"),
        "TIMESTAMP_NS": pl.Datetime("ns"),
    }


class Contract(Record):
    """What every row of a table fulfils once it is validated."""

    table: str
    columns: tuple[ColumnContract, ...]
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    time_column: str | None = None
    on_orphan: OrphanPolicy = OrphanPolicy.KEEP

    def __getitem__(self, column: str) -> ColumnContract:
        return next(known for known in self.columns if known.name == column)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in the file's order."""
        return tuple(column.name for column in self.columns)

    def with_role(self, role: ColumnRole) -> tuple[ColumnContract, ...]:
        """The columns of one role, in order."""
        return tuple(column for column in self.columns if column.role is role)


def derive_contract(project: ProjectConfig, table: str, store: Store) -> Contract:
    """The contract of ``raw.<table>``: what the project file says, else what the values tell.

    A time column or a listed column may be missing from the file when an SQL model of the table's
    name can add it; ``Contract.time_column`` is then unset.

    Raises:
        ConfigurationError: a named column is not there, with the nearest that is.
    """
    dataset = project[table]
    with store.read() as con:
        raw = tuple(table_columns(con, f"raw.{table}"))
        foreign_keys = _foreign_keys(project, table, raw)
        for name in dataset.primary_key:
            assert_known(name, raw, f"datasets.{table}.primary_key")
        keys = {*dataset.primary_key, *(name for key in foreign_keys for name in key.columns)}
        time_column = dataset.time_column if dataset.time_column in raw else None
        columns = infer_columns(
            con,
            f"raw.{table}",
            keys=keys,
            time_column=time_column,
            labels=project.label_columns(table),
            overrides=semantic_overrides(dataset, _nameable(project, table, raw)),
        )
    return Contract(
        table=table,
        columns=tuple(_keyed(column, dataset.primary_key) for column in columns),
        primary_key=dataset.primary_key,
        foreign_keys=foreign_keys,
        time_column=time_column,
        on_orphan=dataset.on_orphan,
    )


def pandera_schema(contract: Contract, *, unique: bool = True) -> "pa.DataFrameSchema":
    """The contract as a Pandera schema for polars frames of validated rows.

    ``unique`` False leaves out the primary key's uniqueness, for frames that are parts of a table.
    """
    with without_pyspark():
        import pandera.polars as pa

    columns = {
        column.name: pa.Column(
            polars_type(column.type),
            checks=_time_check(column),
            nullable=column.nullable,
            required=True,
            description=column.reason,
        )
        for column in contract.columns
    }
    keys = list(contract.primary_key) if unique and contract.primary_key else None
    return pa.DataFrameSchema(columns, unique=keys, name=contract.table, strict=False)


def polars_type(kind: str) -> "pl.DataType | None":
    """The polars type of a DuckDB type, ``None`` where frames may hold it in several ways."""
    return _polars_types().get(kind)


def _time_check(column: ColumnContract) -> "pa.Check | None":
    with without_pyspark():
        import pandera.polars as pa

    if column.role is not ColumnRole.TIME:
        return None
    if column.type == "DATE":
        return pa.Check.in_range(EARLIEST.date(), LATEST.date())
    return pa.Check.in_range(EARLIEST, LATEST)


def _keyed(column: ColumnContract, primary_key: tuple[str, ...]) -> ColumnContract:
    if column.name not in primary_key:
        return column
    reason = "the primary key" if len(primary_key) == 1 else "part of the primary key"
    role = column.role if column.role is ColumnRole.TIME else ColumnRole.KEY
    alone = primary_key == (column.name,)
    return column.model_copy(
        update={"role": role, "nullable": False, "unique": alone, "reason": reason}
    )


def _foreign_keys(
    project: ProjectConfig, table: str, raw: tuple[str, ...]
) -> tuple[ForeignKey, ...]:
    for key in project[table].foreign_keys:
        where = f"datasets.{table}.foreign_keys"
        for name in key.columns:
            assert_known(name, raw, where)
        referenced = key.references_columns or project[key.references_table].primary_key
        if len(referenced) != len(key.columns):
            raise ConfigurationError(
                f"{where}: {list(key.columns)} names rows of {key.references_table!r} "
                f"by {list(referenced)}; give primary_key there or references_columns here"
            )
    return project.foreign_keys(table)


def _nameable(project: ProjectConfig, table: str, raw: tuple[str, ...]) -> tuple[str, ...]:
    """Columns the project file may name: the file's, and whatever an SQL model may add."""
    dataset = project[table]
    if (project.sql_folder / "aligned" / f"{table}.sql").is_file():
        listed = (
            *dataset.categorical_columns,
            *dataset.numerical_columns,
            *dataset.text_columns,
            *dataset.timestamp_columns,
            *dataset.ignore_columns,
        )
        return (*raw, *listed)
    if dataset.time_column is not None:
        assert_known(dataset.time_column, raw, f"datasets.{table}.time_column")
    for label in project.label_columns(table):
        assert_known(label, raw, "target")
    return raw
