"""A SQL model that is run for several requests at once, each over its own rows.

``SELECT ... FROM aligned.orders`` becomes, for every row of a table of requests, the same SELECT
over ``(SELECT * FROM aligned.orders WHERE _request = <that request>)``: a lateral join. What a
model says of all rows it still says of all rows of one request, whatever it groups, ranks or
counts, so that nobody's answer depends on who else asks at the same moment.
"""

import json
from typing import Any, TypeAlias

import duckdb

from nexus_model.align.relate import quoted
from nexus_model.schema import ConfigurationError

Connection: TypeAlias = duckdb.DuckDBPyConnection

REQUEST = "_request"
_SCHEMAS = ("aligned", "validated")


def select_apart(con: Connection, sql: str) -> str:
    """``sql`` for each row of ``aligned._requests``; its first column says which.

    Raises:
        ConfigurationError: the text cannot be taken apart, or reads row numbers, which requests
            together would not have from zero.
    """
    if "_row" in sql:
        raise ConfigurationError("the SQL reads row numbers")
    # A trailing comment must not swallow what follows.
    parsed = parsed_sql(con, sql + "\n")
    text = json.dumps(_own_rows(con, parsed))
    own = con.execute("select json_deserialize_sql(cast(? as json))", [text]).fetchall()[0][0]
    return (
        f"select asking.{REQUEST}, answer.* from aligned._requests as asking, "
        f"lateral ({own}\n) as answer"
    )


def parsed_sql(con: Connection, sql: str) -> Any:
    """The syntax tree of a statement.

    Raises:
        ConfigurationError: the database cannot write it down.
    """
    found = con.execute("select json_serialize_sql(?)", [sql]).fetchall()[0][0]
    parsed = json.loads(found)
    if parsed.get("error"):
        raise ConfigurationError(f"the SQL cannot be taken apart: {parsed.get('error_message')}")
    return parsed


def _own_rows(con: Connection, node: Any) -> Any:
    """The syntax tree with every table replaced by the rows of one request."""
    if isinstance(node, list):
        return [_own_rows(con, part) for part in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") == "BASE_TABLE" and node.get("schema_name") in _SCHEMAS:
        return _rows_of_one(con, node)
    return {key: _own_rows(con, part) for key, part in node.items()}


def _rows_of_one(con: Connection, node: dict[str, Any]) -> dict[str, Any]:
    table = f"{node['schema_name']}.{quoted(node['table_name'])}"
    rows = parsed_sql(
        con, f"select * exclude ({REQUEST}) from {table} where {REQUEST} = asking.{REQUEST}"
    )
    return {
        "type": "SUBQUERY",
        "alias": node["alias"] or node["table_name"],
        "sample": node.get("sample"),
        "query_location": 0,
        "subquery": {"node": rows["statements"][0]["node"], "named_param_map": []},
        "column_name_alias": node.get("column_name_alias", []),
    }
