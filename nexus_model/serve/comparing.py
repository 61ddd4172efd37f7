"""Which SQL models may say something else of an entity when other entities' rows are not there.

A model compares if it groups, ranks or counts rows that are not held together by the entity's own
key: ``max(points) over (partition by raceId)`` does, ``count(*) ... group by driverId`` does not.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from nexus_model.align.assemble import closed_database
from nexus_model.align.recipe import Recipe
from nexus_model.schema import ConfigurationError
from nexus_model.serve.apart import Connection, parsed_sql


def comparing_models(recipe: Recipe) -> tuple[str, ...]:
    """Names of the models that may compare entities, labels left out; in their order."""
    left_out = {recipe.labels, recipe.cutoffs}
    models = [model for model in recipe.models if model.name not in left_out]
    compared = _compare(tuple(model.sql for model in models), frozenset(_entity_keys(recipe)))
    return tuple(model.name for model, does in zip(models, compared, strict=True) if does)


def _entity_keys(recipe: Recipe) -> Iterator[str]:
    """Columns that say whose a row is: the entity's key, and keys of other tables that name it."""
    yield from recipe.entity.primary_key
    for table in recipe.database.tables:
        for key in table.foreign_keys:
            if key.references_table == recipe.entity.name:
                yield from key.columns


@cache
def _compare(models: tuple[str, ...], own: frozenset[str]) -> tuple[bool, ...]:
    """Whether each text compares; a database is opened once for all of them."""
    with closed_database(threads=1) as con:
        found = "select function_name from duckdb_functions() where function_type = 'aggregate'"
        aggregates = frozenset(row[0] for row in con.execute(found).fetchall())
        return tuple(_compares(con, sql, own, aggregates) for sql in models)


def _compares(con: Connection, sql: str, own: frozenset[str], aggregates: frozenset[str]) -> bool:
    try:
        parsed = parsed_sql(con, sql)
    except ConfigurationError:
        return True
    return any(not groups & own for groups in _groupings(parsed, aggregates))


def _groupings(node: Any, aggregates: frozenset[str]) -> Iterator[frozenset[str]]:
    """The columns of every GROUP BY and PARTITION BY; none where an aggregate is over all rows."""
    if isinstance(node, list):
        for part in node:
            yield from _groupings(part, aggregates)
    if not isinstance(node, dict):
        return
    if node.get("class") == "WINDOW":
        yield _columns(node["partitions"])
    elif node.get("type") == "SELECT_NODE":
        grouped = _columns(node["group_expressions"])
        if grouped or _aggregates(node["select_list"], aggregates):
            yield grouped
    for part in node.values():
        yield from _groupings(part, aggregates)


def _aggregates(node: Any, aggregates: frozenset[str]) -> bool:
    """Whether an expression aggregates, outside the windows and queries within it."""
    if isinstance(node, list):
        return any(_aggregates(part, aggregates) for part in node)
    if not isinstance(node, dict) or node.get("class") in {"WINDOW", "SUBQUERY"}:
        return False
    if node.get("class") == "FUNCTION" and node.get("function_name") in aggregates:
        return True
    return any(_aggregates(part, aggregates) for part in node.values())


def _columns(node: Any) -> frozenset[str]:
    return frozenset(
        part["column_names"][-1]
        for part in node
        if isinstance(part, dict) and part.get("class") == "COLUMN_REF"
    )
