"""One SELECT in one file: parsed, never rendered; what runs is the text as it was written."""

from collections import Counter
from pathlib import Path

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from nexus_model.schema import ConfigurationError

DIALECT = "duckdb"


def read_statement(path: Path) -> str:
    """The text of the file's one SELECT, without what follows its last word.

    Raises:
        ConfigurationError: the file is not exactly one SELECT, or reads files or functions.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8: {error}") from error
    statement = _only_statement(text, path)
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier | exp.GenerateSeries):
            raise ConfigurationError(
                f"{path}: reads from {table.this.sql(DIALECT)}; only tables can be read"
            )
    return _trimmed(text)


def parse_statement(sql: str) -> exp.Query:
    """The syntax tree of a text that ``read_statement`` accepted."""
    statement = sqlglot.parse_one(sql, dialect=DIALECT)
    assert isinstance(statement, exp.Query)
    return statement


def output_columns(statement: exp.Query, path: Path) -> tuple[str, ...]:
    """Names of the result's columns, or none while a ``*`` hides them.

    Raises:
        ConfigurationError: a column has no name, or a name comes twice.
    """
    names = tuple(statement.named_selects)
    if any(isinstance(select, exp.Star) or select.is_star for select in statement.selects):
        return ()
    for position, name in enumerate(names):
        if not name:
            raise ConfigurationError(f"{path}: column {position + 1} needs a name (as ...)")
    counts = Counter(name.lower() for name in names)
    twice = sorted({name for name in names if counts[name.lower()] > 1})
    if twice:
        raise ConfigurationError(f"{path}: columns {twice} come more than once")
    return names


def tables_read(statement: exp.Query) -> tuple[str, ...]:
    """Tables the statement reads, as written: ``schema.name``, or a bare name that is no CTE."""
    own = {cte.alias_or_name.lower() for cte in statement.find_all(exp.CTE)}
    found = [
        ".".join(part.name for part in table.parts)
        for table in statement.find_all(exp.Table)
        if isinstance(table.this, exp.Identifier) and (table.db or table.name.lower() not in own)
    ]
    return tuple(dict.fromkeys(found))


def _only_statement(text: str, path: Path) -> exp.Query:
    try:
        parsed = sqlglot.parse(text, dialect=DIALECT)
    except SqlglotError as error:
        told = str(error).splitlines()[0]
        raise ConfigurationError(f"{path}: not DuckDB SQL: {told}") from error
    statements = [part for part in parsed if part and not isinstance(part, exp.Semicolon)]
    if len(statements) != 1:
        raise ConfigurationError(f"{path}: must be one SELECT, got {len(statements)} statements")
    statement = statements[0]
    if not isinstance(statement, exp.Select | exp.SetOperation):
        raise ConfigurationError(f"{path}: must be a SELECT, got {statement.key.upper()}")
    return statement


def _trimmed(text: str) -> str:
    tokens = sqlglot.tokenize(text, dialect=DIALECT)
    last = next(token for token in reversed(tokens) if token.token_type is not TokenType.SEMICOLON)
    return text[: last.end + 1].strip()
