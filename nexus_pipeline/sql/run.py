"""Running an SQL model: its result replaces its table, in an order that never varies."""

import duckdb

from nexus_model.schema import ConfigurationError, DataError
from nexus_pipeline.sql.model import SqlModel
from nexus_pipeline.sql.statement import parse_statement
from nexus_pipeline.storage import Store, replace_table
from nexus_pipeline.storage.tables import query_columns

_WRONG_SQL = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)


def run_model(store: Store, model: SqlModel) -> int:
    """Replace ``aligned.<name>`` by the model's rows and return how many there are.

    Raises:
        ConfigurationError: DuckDB does not understand the text; names the file.
        DataError: the rows cannot be computed, such as a cast that fails.
    """
    with store.write() as con:
        try:
            columns = query_columns(con, model.sql, model.table)
            return replace_table(con, model.table, ordered(model.sql, len(columns)))
        except _WRONG_SQL as error:
            raise ConfigurationError(f"{model.path}: {error}") from error
        except duckdb.Error as error:
            raise DataError(f"{model.path.name}: {error}", table=model.table) from error


def ordered(sql: str, columns: int) -> str:
    """The text with all its columns as last sort keys: DuckDB's threads leave ties as they come.

    >>> ordered("select a, b from t order by b desc", columns=2).splitlines()[-1]
    ', 1, 2'
    """
    statement = parse_statement(sql)
    order = statement.args.get("order")
    if statement.args.get("limit") or statement.args.get("offset"):
        return sql if order else f"SELECT * FROM (\n{sql}\n) ORDER BY ALL"
    if order is None:
        return f"{sql}\nORDER BY ALL"
    if any(key.this.name.lower() == "all" for key in order.expressions):
        return sql
    return f"{sql}\n, {', '.join(str(position + 1) for position in range(columns))}"
