"""Do the validated rows keep their contract? Asked of the rows as they are stored."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import duckdb
import polars as pl

from nexus_pipeline.steps.contracts import Contract, pandera_schema, polars_type
from nexus_pipeline.steps.schema_failures import free_columns
from nexus_pipeline.steps.without_pyspark import without_pyspark
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import quote_all, quote_table
from nexus_pipeline.storage.tables import ascends

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

_BATCH_ROWS = 500_000
_EXAMPLES = 100


def contract_failures(contract: Contract, store: Store) -> list[str]:
    """What Pandera finds wrong with ``validated.<table>``, and keys that come more than once."""
    schema, table = pandera_schema(contract, unique=False), f"validated.{contract.table}"
    free = free_columns(schema)
    bound = [name for name in contract.names if name not in free]
    with store.read() as con:
        # A column that may hold anything of its type is looked at for its type alone.
        every = f"SELECT {quote_all(contract.names)} FROM {quote_table(table)} LIMIT 0"
        found = list(_broken(contract, schema, con.sql(every)))
        if bound:
            some = con.sql(f"SELECT {quote_all(bound)} FROM {quote_table(table)}")
            found += _broken(contract, schema.remove_columns(sorted(free)), some)
        return found + list(_repeated(contract, con, table))


def _broken(
    contract: Contract, schema: "DataFrameSchema", rows: duckdb.DuckDBPyRelation
) -> Iterator[str]:
    with without_pyspark():
        from pandera.errors import SchemaErrors

    kinds = {name: polars_type(contract[name].type) or pl.String() for name in rows.columns}
    for batch in rows.to_arrow_reader(_BATCH_ROWS):
        frame = pl.DataFrame(pl.from_arrow(batch)).with_columns(
            pl.col(name).cast(kind) for name, kind in kinds.items()
        )
        try:
            schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            for case in errors.failure_cases.iter_rows(named=True):
                yield f"{case['column']}: {case['check']}: {case['failure_case']}"


def _repeated(contract: Contract, con: duckdb.DuckDBPyConnection, table: str) -> Iterator[str]:
    key, rows = contract.primary_key, quote_table(table)
    if not key or ascends(con, rows, key):
        return
    names = quote_all(key)
    twice = con.execute(
        f"SELECT {names} FROM {rows} GROUP BY {names} HAVING count(*) > 1 "
        f"ORDER BY {names} LIMIT {_EXAMPLES}"
    ).fetchall()
    for values in twice:
        yield f"{'+'.join(key)}: unique: {', '.join(map(str, values))}"
