"""Accepted: what a person said a validated table is expected to be; one YAML file per table.

``dbt_like_sql/<project>/validated/<table>.yaml``. Each expectation is a line of its own, so that a
change is a line of a diff and a problem names the line to change.
"""

import datetime as dt
import difflib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.project import ProjectConfig

NOW: Literal["now"] = "now"
Moment = dt.date | Literal["now"]


class Severity(StrEnum):
    """Whether what reads the table is stopped."""

    WARN = "warn"
    ERROR = "error"


class Line(Record):
    """What every expectation may say: ``severity`` in place of the usual one."""

    severity: Severity | None = None


class ColumnLine(Line):
    """A column: its type, the share of rows it may be empty in, and what its values may be.

    ``others`` is the share of rows that may hold none of ``values``.
    """

    type: str
    nulls: float = Field(0.0, ge=0, le=1)
    least: int | float | dt.date | None = None
    most: int | float | Moment | None = None
    values: tuple[str, ...] = ()
    others: float = Field(0.0, ge=0, le=1)


class RowsLine(Line):
    """Bounds of the number of rows."""

    least: int
    most: int


class ShareLine(Line):
    """The largest share of rows: rejected ones, or those that name no row of another table."""

    most: float = Field(ge=0, le=1)


class NewestLine(Line):
    """How many days the newest row may be behind the newest of the database, or the present."""

    column: str
    days: int = Field(ge=0)
    behind: Literal["database", "now"] = "database"


class UniqueLine(Line):
    """Columns no two rows agree in."""

    columns: tuple[str, ...] = Field(min_length=1)


class Expected(Record):
    """What one table is expected to be."""

    rows: RowsLine | None = None
    rejected: ShareLine | None = None
    newest: NewestLine | None = None
    columns: dict[str, ColumnLine] = Field(default_factory=dict)
    unique: tuple[UniqueLine, ...] = ()
    orphans: dict[str, ShareLine] = Field(default_factory=dict)


class AcceptedFile(Record):
    """One accepted file: its text, and what it says."""

    table: str
    path: Path
    text: str
    expected: Expected

    @cached_property
    def _lines(self) -> dict[tuple[str, ...], int]:
        return dict(_lines_of(yaml.compose(self.text)))

    def line(self, *keys: str) -> int:
        """The line, from 1, on which the nearest of nested ``keys`` is said; 1 if none is."""
        while keys and keys not in self._lines:
            keys = keys[:-1]
        return self._lines.get(keys, 1)


def accepted_folder(project: ProjectConfig) -> Path:
    """Where the accepted files of a project are."""
    return project.sql_folder / "validated"


def read_accepted(project: ProjectConfig) -> dict[str, AcceptedFile]:
    """The accepted file of every table that has one, in the project's order.

    Raises:
        ConfigurationError: a file is of no table, is no YAML, or says what cannot be expected.
    """
    files = {path.stem: path for path in sorted(accepted_folder(project).glob("*.yaml"))}
    tables = [dataset.table for dataset in project.datasets]
    for name, path in files.items():
        if name not in tables:
            close = difflib.get_close_matches(name, tables, n=1) or tables
            raise ConfigurationError(f"{path}: no table {name!r}; did you mean {close[0]!r}?")
    return {table: read_file(table, files[table]) for table in tables if table in files}


def read_file(table: str, path: Path) -> AcceptedFile:
    """One accepted file.

    Raises:
        ConfigurationError: it is no YAML, or says what cannot be expected.
    """
    text = path.read_text(encoding="utf-8")
    try:
        said = yaml.safe_load(text)
        expected = Expected.model_validate(said if said is not None else {})
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    except ValidationError as error:
        told = "\n".join(f"  {_where(problem)}: {problem['msg']}" for problem in error.errors())
        raise ConfigurationError(f"{path}: cannot be expected\n{told}") from error
    return AcceptedFile(table=table, path=path, text=text, expected=expected)


def _where(problem: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in problem["loc"]) or "file"


def _lines_of(node: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Lines by nested keys; entries of a list are numbered."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*above, key.value), key.start_mark.line + 1
            yield from _lines_of(value, (*above, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield (*above, str(place)), value.start_mark.line + 1
            yield from _lines_of(value, (*above, str(place)))
