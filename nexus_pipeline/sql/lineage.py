"""Column lineage of an SQL model: which columns of which tables each result column is made from."""

from collections.abc import Iterator, Mapping, Sequence

from sqlglot import exp
from sqlglot.lineage import Node, lineage
from sqlglot.schema import MappingSchema

from nexus_pipeline.sql.model import SqlModel
from nexus_pipeline.sql.statement import DIALECT, parse_statement

Source = tuple[str, str]


def column_lineage(
    model: SqlModel, tables: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Source, ...]]:
    """For each result column the ``(table, column)`` pairs it is computed from.

    ``tables`` gives the columns of the tables the model reads; they expand ``*`` and place bare
    names. A column made from no column, such as ``count(*)``, has no pairs.
    """
    written = _Spelling(model, tables)
    nodes: dict[str, Node] = lineage(
        None, parse_statement(model.sql), _schema(tables), dialect=DIALECT, trim_selects=False
    )
    return {
        written.result(name): tuple(sorted({written.source(*leaf) for leaf in _leaves(root)}))
        for name, root in nodes.items()
    }


def result_columns(model: SqlModel, tables: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Names of the result's columns, with every ``*`` expanded."""
    return model.columns or tuple(column_lineage(model, tables))


def _schema(tables: Mapping[str, Sequence[str]]) -> MappingSchema:
    schema = MappingSchema(dialect=DIALECT)
    for table, columns in tables.items():
        kinds = dict.fromkeys(columns, "UNKNOWN")
        schema.add_table(exp.to_table(table, dialect=DIALECT), kinds)
    return schema


def _leaves(root: Node) -> Iterator[Source]:
    for node in root.walk():
        if isinstance(node.source, exp.Table) and not node.downstream:
            table = ".".join(part.name for part in node.source.parts)
            column = exp.to_column(node.name, dialect=DIALECT).name
            if column != "*":
                yield table, column


class _Spelling:
    """How names were written; parsing leaves them in lower case, as SQL ignores case."""

    def __init__(self, model: SqlModel, tables: Mapping[str, Sequence[str]]) -> None:
        statement = parse_statement(model.sql)
        self._tables = {name.lower(): name for name in (*tables, *model.depends_on)}
        self._anywhere = {c.name.lower(): c.name for c in statement.find_all(exp.Column)}
        self._anywhere |= {name.lower(): name for names in tables.values() for name in names}
        self._columns = {
            (table.lower(), name.lower()): name for table in tables for name in tables[table]
        }
        self._results = {name.lower(): name for name in model.columns}

    def source(self, table: str, column: str) -> Source:
        """A table's column as it was written."""
        lower = (table.lower(), column.lower())
        spelled = self._columns.get(lower, self._anywhere.get(lower[1], column))
        return self._tables.get(lower[0], table), spelled

    def result(self, name: str) -> str:
        """A result column as it was written."""
        return self._results.get(name.lower(), self._anywhere.get(name.lower(), name))
