"""Which rows of a frame a Pandera schema refuses, and why, in words."""

from typing import TYPE_CHECKING

import polars as pl

from nexus_model.schema import DataError
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.steps.row_rules import REASON
from nexus_pipeline.steps.without_pyspark import without_pyspark

if TYPE_CHECKING:
    from pandera.polars import DataFrameSchema

EMPTY = pl.DataFrame(schema={ROW: pl.Int64, REASON: pl.String, "column": pl.String})


def free_columns(schema: "DataFrameSchema") -> set[str]:
    """Columns that may hold anything of their type, which no row can break."""
    return {
        name
        for name, column in schema.columns.items()
        if column.nullable and not column.checks and not column.unique
    }


def broken_rows(schema: "DataFrameSchema", frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of ``frame`` that break ``schema``, each once: ``_row``, ``_reason``, ``column``.

    Raises:
        DataError: the frame as a whole does not fit, such as a column of another type.
    """
    with without_pyspark():
        from pandera.errors import SchemaErrors

    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        failures = pl.DataFrame(error.failure_cases)
    else:
        return EMPTY
    whole = failures.filter(pl.col("index").is_null())
    if len(whole):
        column, check = whole.select("column", "check").row(0)
        raise DataError(f"does not keep {check}", table=str(schema.name), column=column)
    places = failures["index"].cast(pl.Int64)
    return failures.select(
        frame[ROW].cast(pl.Int64).gather(places).alias(ROW),
        pl.struct("column", "check")
        .map_elements(lambda case: _reason(**case), return_dtype=pl.String)
        .alias(REASON),
        pl.col("column").cast(pl.String),
    ).unique(ROW, keep="first", maintain_order=True)


def _reason(column: str, check: str) -> str:
    return f"{column} is null" if check == "not_nullable" else f"{column} breaks {check}"
