"""Rules over single rows, as SQL: casts that fail, times outside what can be stored."""

from collections.abc import Iterator, Mapping

from nexus_model.schema import Record
from nexus_pipeline.steps.column_types import INTEGERS, type_family
from nexus_pipeline.steps.contracts import EARLIEST, LATEST, Contract
from nexus_pipeline.storage.names import literal, quote

REASON = "_reason"


class Rule(Record):
    """Rows for which the SQL condition ``broken`` holds are rejected; ``columns`` show why.

    The condition is on rows of the raw table under the name ``child``.
    """

    reason: str
    broken: str
    columns: tuple[str, ...]


def row_rules(contract: Contract, raw: Mapping[str, str]) -> Iterator[Rule]:
    """Rules for the rows of ``raw.<table>``, whose column types are ``raw``."""
    for column in contract.columns:
        if raw[column.name] != column.type:
            cast = cast_sql(column.name, raw[column.name], column.type)
            yield Rule(
                reason=f"{column.name} is not {column.type}",
                broken=f"{quote(column.name)} IS NOT NULL AND ({cast}) IS NULL",
                columns=(column.name,),
            )
    name = contract.time_column
    if name is not None:
        at = f"CAST({cast_sql(name, raw[name], contract[name].type)} AS TIMESTAMP)"
        earliest, latest = literal(str(EARLIEST)), literal(str(LATEST))
        yield Rule(
            reason=f"{name} is outside the years {EARLIEST.year} to {LATEST.year}",
            broken=f"{at} NOT BETWEEN TIMESTAMP {earliest} AND TIMESTAMP {latest}",
            columns=(name,),
        )


def cast_sql(name: str, given: str, wanted: str) -> str:
    """A column as ``wanted``: null where the value cannot be said in that type without loss."""
    column = quote(name)
    if given == wanted:
        return column
    if wanted == "TIMESTAMP":
        # A plain cast would drop an offset such as +02:00 instead of applying it.
        return f"TRY_CAST({column} AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
    cast = f"TRY_CAST({column} AS {wanted})"
    if wanted in INTEGERS and type_family(given) == "number":
        return f"CASE WHEN {cast} = {column} THEN {cast} END"
    return cast
