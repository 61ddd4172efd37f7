"""Orphans: rows whose foreign key names no row of the referenced raw table."""

from collections.abc import Iterator

import duckdb

from nexus_model.schema import DataError, ForeignKey, Record
from nexus_pipeline.settings.dataset import OrphanPolicy
from nexus_pipeline.steps.column_types import type_family
from nexus_pipeline.steps.contracts import Contract
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.steps.row_rules import Rule
from nexus_pipeline.storage.names import quote, quote_all, quote_table
from nexus_pipeline.storage.tables import table_columns


class OrphanCount(Record):
    """Rows without a parent along one foreign key; ``share`` is of the rows that have a key."""

    foreign_key: str
    references_table: str
    rows: int
    share: float
    example: str | None = None


def count_orphans(con: duckdb.DuckDBPyConnection, contract: Contract) -> tuple[OrphanCount, ...]:
    """Orphans of every foreign key of ``raw.<table>``.

    Raises:
        DataError: the types of key and referenced key do not compare, or there are orphans and
            the contract calls them an error.
    """
    counts = []
    for key in contract.foreign_keys:
        assert_key_types(con, contract.table, key)
        count = _count(con, contract.table, key)
        if count.rows and contract.on_orphan is OrphanPolicy.ERROR:
            raise DataError(
                f"names no row of {key.references_table}",
                table=contract.table,
                column="+".join(key.columns),
                rows=count.rows,
                example=count.example,
            )
        counts.append(count)
    return tuple(counts)


def orphan_rules(contract: Contract) -> Iterator[Rule]:
    """Rules that reject orphans, if the contract drops them."""
    if contract.on_orphan is not OrphanPolicy.DROP:
        return
    for key in contract.foreign_keys:
        yield Rule(
            reason=f"{'+'.join(key.columns)} names no row of {key.references_table}",
            broken=_is_orphan(key),
            columns=key.columns,
        )


def assert_key_types(con: duckdb.DuckDBPyConnection, table: str, key: ForeignKey) -> None:
    """Refuse a key whose values can never equal those it references."""
    own = table_columns(con, f"raw.{table}")
    referenced = table_columns(con, f"raw.{key.references_table}")
    for name, target in zip(key.columns, key.references_columns, strict=True):
        if target not in referenced:
            problem = f"references {key.references_table}.{target}, which is not there"
            raise DataError(problem, table=table, column=name)
        if type_family(own[name]) != type_family(referenced[target]) and _has_values(
            con, table, name
        ):
            raise DataError(
                f"is {own[name]}, but {key.references_table}.{target}, which it references, "
                f"is {referenced[target]}",
                table=table,
                column=name,
            )


def _has_values(con: duckdb.DuckDBPyConnection, table: str, column: str) -> bool:
    query = f"SELECT count({quote(column)}) FROM {quote_table(f'raw.{table}')}"
    return bool(con.execute(query).fetchall()[0][0])


def _count(con: duckdb.DuckDBPyConnection, table: str, key: ForeignKey) -> OrphanCount:
    children = f"{quote_table(f'raw.{table}')} AS child"
    filled = " AND ".join(f"{quote(name)} IS NOT NULL" for name in key.columns)
    orphan = _is_orphan(key)
    with_key, rows = con.execute(
        f"SELECT count(*) FILTER (filled), count(*) FILTER (orphan) "
        f"FROM (SELECT {filled} AS filled, {orphan} AS orphan FROM {children})"
    ).fetchall()[0]
    example = (
        f"SELECT {quote_all(key.columns)} FROM {children} WHERE {orphan} ORDER BY {ROW} LIMIT 1"
    )
    first = con.execute(example).fetchall() if rows else []
    return OrphanCount(
        foreign_key=key.label,
        references_table=key.references_table,
        rows=rows,
        share=rows / with_key if with_key else 0.0,
        example=", ".join(str(value) for value in first[0]) if first else None,
    )


def _is_orphan(key: ForeignKey) -> str:
    """A condition on rows of the raw table under the name ``child``."""
    parents = quote_table(f"raw.{key.references_table}")
    pairs = zip(key.columns, key.references_columns, strict=True)
    same = " AND ".join(f"parent.{quote(to)} = child.{quote(name)}" for name, to in pairs)
    filled = " AND ".join(f"child.{quote(name)} IS NOT NULL" for name in key.columns)
    return f"({filled} AND NOT EXISTS (SELECT 1 FROM {parents} AS parent WHERE {same}))"
