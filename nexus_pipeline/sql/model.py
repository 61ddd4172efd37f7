"""SQL models: one SELECT per file, named after the table of the aligned schema it makes."""

import difflib
from collections.abc import Collection
from pathlib import Path

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.sql.statement import (
    output_columns,
    parse_statement,
    read_statement,
    tables_read,
)


class SqlModel(Record):
    """One model: its text as written, and what was read from the parsed text.

    ``columns`` is empty when the outermost SELECT has a ``*``; ``result_columns`` expands it.
    """

    name: str
    path: Path
    sql: str
    depends_on: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def table(self) -> str:
        """The table it makes."""
        return f"aligned.{self.name}"


def load_models(folder: Path, *, known_tables: Collection[str]) -> dict[str, SqlModel]:
    """Every ``*.sql`` of a folder by name; a folder that is not there has no models.

    ``known_tables`` are the tables that exist beside the models, such as ``validated.races`` and
    ``aligned.cutoffs_dnf``.

    Raises:
        ConfigurationError: a file is not one SELECT, or reads a table that is neither known nor
            made by a model; the message has the nearest that is.
    """
    paths = sorted(folder.glob("*.sql"))
    known = {*known_tables, *(f"aligned.{path.stem}" for path in paths)}
    return {path.stem: _load(path, known) for path in paths}


def resolve(names: Collection[str], known: Collection[str], path: Path) -> tuple[str, ...]:
    """Table names as they are known, whatever their case; sorted.

    Raises:
        ConfigurationError: a name is not known.
    """
    spelled = {name.lower(): name for name in known}
    for name in names:
        if name.lower() not in spelled:
            raise ConfigurationError(f"{path}: reads {name!r}{_nearest(name, known)}")
    return tuple(sorted({spelled[name.lower()] for name in names}))


def _load(path: Path, known: Collection[str]) -> SqlModel:
    if not path.stem.isidentifier():
        raise ConfigurationError(f"{path}: a model is named like an SQL name, got {path.stem!r}")
    sql = read_statement(path)
    statement = parse_statement(sql)
    return SqlModel(
        name=path.stem,
        path=path,
        sql=sql,
        depends_on=resolve(tables_read(statement), known, path),
        columns=output_columns(statement, path),
    )


def _nearest(name: str, known: Collection[str]) -> str:
    own = name.rpartition(".")[2].lower()
    same = sorted(table for table in known if table.partition(".")[2].lower() == own)
    close = same or difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; known: {', '.join(sorted(known))}"
