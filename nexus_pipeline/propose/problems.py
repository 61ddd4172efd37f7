"""Problems: what validation found, each with table, column, count, examples and the line to change.

The last validation's stores are read; nothing is validated again.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from nexus_model.schema import ForeignKey, Record
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.names import DEFAULT_FILE
from nexus_pipeline.steps.read_raw import ROW
from nexus_pipeline.steps.row_rules import REASON
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import quote, quote_table
from nexus_pipeline.storage.tables import table_columns, table_exists

_EXAMPLES = 5
_LONGEST = 60


class Problem(Record):
    """``rows`` of ``table`` and why; ``line`` is the line of the project file to change."""

    table: str
    column: str
    rows: int
    kind: str
    examples: tuple[str, ...]
    line: int | None
    advice: str

    def told(self, file: str = DEFAULT_FILE) -> str:
        """In words, on two lines."""
        place = f"{file}:{self.line}: " if self.line else f"{file}: "
        shown = ", ".join(self.examples)
        where = f"{self.table}.{self.column}" if self.column else self.table
        return f"{where}: {self.rows:,} rows {self.kind}; such as {shown}\n  {place}{self.advice}"


def find_problems(project: ProjectConfig, store: Store, file: Path) -> tuple[Problem, ...]:
    """Quarantined rows by reason, and orphans that were kept, table by table."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found: list[Problem] = []
    with store.read() as con:
        for dataset in project.datasets:
            if not table_exists(con, f"quarantine.{dataset.table}"):
                continue
            found += _quarantined(con, project, dataset.table, text)
            found += _orphans(con, project, dataset.table, text)
    return tuple(found)


def _quarantined(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, table: str, text: str
) -> Iterator[Problem]:
    quarantine = quote_table(f"quarantine.{table}")
    known = set(table_columns(con, f"quarantine.{table}"))
    reasons = con.execute(
        f"SELECT {REASON}, count(*) FROM {quarantine} GROUP BY ALL ORDER BY 2 DESC, 1"
    ).fetchall()
    for reason, rows in reasons:
        column, kind, advice, key = _explained(project, table, reason)
        columns = [name for name in column.split("+") if name in known]
        yield Problem(
            table=table,
            column=column,
            rows=rows,
            kind=kind,
            examples=_examples(con, quarantine, columns, f"{REASON} = ?", [reason]),
            line=line_of(text, project[table].name, *key),
            advice=advice,
        )


def _explained(
    project: ProjectConfig, table: str, reason: str
) -> tuple[str, str, str, tuple[str, ...]]:
    """Column, what is wrong, what to do, and the keys of the file it is said under."""
    column = reason.split(" ", maxsplit=1)[0]
    if reason.endswith("repeats the primary key of an earlier row"):
        told = f"primary_key: name further columns, so that {column} is unique, or mend the file"
        return column, "repeat the primary key of an earlier row", told, ("primary_key",)
    orphan = re.match(r"(\S+) names no row of (\S+)", reason)
    if orphan:
        told = f"on_orphan: keep, if rows without a row of {orphan[2]} shall stay"
        return orphan[1], f"name no row of {orphan[2]}", told, ("on_orphan", "foreign_keys")
    if reason.endswith("is null"):
        key = "time_column" if column == project[table].time_column else "primary_key"
        told = f"{key}: choose a column that is never empty, or fill the cells"
        return column, f"are without {column}", told, (key,)
    wanted = re.match(r".* is not (\S+)", reason)
    if wanted or "is outside the years" in reason:
        key = "time_column" if column == project[table].time_column else "timestamp_columns"
        told = (
            f"mend the cells, or read them in dbt_like_sql/{project.project_name}/aligned/"
            f"{table}.sql and name the column it makes here"
        )
        said = f"are not {wanted[1]}" if wanted else reason.removeprefix(f"{column} ")
        return column, said, told, (key, column)
    return (
        column,
        reason.removeprefix(f"{column} "),
        "mend the file, or ignore the column",
        (column,),
    )


def _orphans(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, table: str, text: str
) -> Iterator[Problem]:
    if project[table].on_orphan.value != "keep":
        return
    for key in project.foreign_keys(table):
        condition = _is_orphan(key)
        source = f"{quote_table(f'validated.{table}')} AS child"
        rows = con.execute(f"SELECT count(*) FROM {source} WHERE {condition}").fetchall()[0][0]
        if rows:
            yield Problem(
                table=table,
                column="+".join(key.columns),
                rows=rows,
                kind=f"name no row of {key.references_table} and were kept",
                examples=_examples(con, source, list(key.columns), condition, []),
                line=line_of(
                    text, project[table].name, f"references_table: {key.references_table}",
                    "foreign_keys",
                ),
                advice="on_orphan: drop, if such rows mean nothing; or name the right table",
            )  # fmt: skip


def _is_orphan(key: ForeignKey) -> str:
    pairs = zip(key.columns, key.references_columns, strict=True)
    same = " AND ".join(f"parent.{quote(to)} = child.{quote(name)}" for name, to in pairs)
    filled = " AND ".join(f"child.{quote(name)} IS NOT NULL" for name in key.columns)
    parents = quote_table(f"validated.{key.references_table}")
    return f"{filled} AND NOT EXISTS (SELECT 1 FROM {parents} AS parent WHERE {same})"


def _examples(
    con: duckdb.DuckDBPyConnection,
    source: str,
    columns: list[str],
    condition: str,
    given: list[str],
) -> tuple[str, ...]:
    """Rows counted from 0, with what the columns hold there."""
    texts = ", ".join(f"CAST({quote(name)} AS VARCHAR)" for name in columns)
    query = (
        f"SELECT {ROW}{', ' if texts else ''}{texts} FROM {source} WHERE {condition} "
        f"ORDER BY {ROW} LIMIT {_EXAMPLES}"
    )
    shown = []
    for row, *values in con.execute(query, given).fetchall():
        cells = [f"{n}={v!r}" for n, v in zip(columns, values, strict=True)]
        shown.append(f"row {row}: {', '.join(cells)}"[:_LONGEST])
    return tuple(shown)


def line_of(text: str, dataset: str, *keys: str) -> int | None:
    """The line, from 1, of the first of ``keys`` that a dataset's part of the file has.

    Without any of them it is the line of the dataset's name.

    >>> line_of("datasets:\\n  - name: a.csv\\n    primary_key: id\\n", "a.csv", "primary_key")
    3
    """
    lines = text.splitlines()
    begin = next(
        (
            place
            for place, line in enumerate(lines)
            if re.match(
                rf"\s*-\s*\{{?\s*name:\s*['\"]?{re.escape(dataset)}['\"]?\s*(,|#|\}}|$)", line
            )
        ),
        None,
    )
    if begin is None:
        return None
    end = next(
        (n for n in range(begin + 1, len(lines)) if re.match(r"(\s*-\s*\{?\s*name:|\S)", lines[n])),
        len(lines),
    )
    for key in keys:
        for place in range(begin, end):
            said = lines[place].split("#")[0]
            if re.search(rf"(?<![\w]){re.escape(key)}(?![\w])", said):
                return place + 1
    return begin + 1
