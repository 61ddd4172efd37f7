"""Do the validated rows keep their contract? Asked of the rows as they are stored."""

import polars as pl

from nexus_model.align.relate import quoted
from nexus_pipeline.steps.contracts import Contract, pandera_schema, polars_type
from nexus_pipeline.steps.without_pyspark import without_pyspark
from nexus_pipeline.storage import Store


def contract_failures(contract: Contract, store: Store) -> list[str]:
    """What Pandera finds wrong with ``validated.<table>``, uniqueness of the key included."""
    with without_pyspark():
        from pandera.errors import SchemaErrors

    with store.read() as con:
        rows = con.sql(
            f"select {', '.join(quoted(name) for name in contract.names)} "
            f"from validated.{quoted(contract.table)}"
        ).to_arrow_table()
    kinds = {column.name: polars_type(column.type) for column in contract.columns}
    frame = pl.DataFrame(pl.from_arrow(rows)).with_columns(
        pl.col(name).cast(kind or pl.String()) for name, kind in kinds.items()
    )
    try:
        pandera_schema(contract).validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        return [
            f"{case['column']}: {case['check']}: {case['failure_case']}"
            for case in cases.iter_rows(named=True)
        ]
    return []
