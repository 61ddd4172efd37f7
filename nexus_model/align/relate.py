"""Rows numbered, dated and linked: the integer form of a database that every later stage reads.

``aligned.<table>`` holds a table's columns plus ``_row`` (0..R-1, ordered by key) and ``_time``;
``aligned.links_<table>`` holds ``_row`` and one ``_fk_<i>`` per foreign key: the ``_row`` it names.
"""

from typing import TypeAlias

import duckdb

from nexus_model.schema import DataError, TableSpec

Connection: TypeAlias = duckdb.DuckDBPyConnection

_OURS = ("_row", "_time")


def quoted(name: str) -> str:
    """A SQL identifier, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def numbered_select(con: Connection, source: str, table: TableSpec) -> str:
    """SELECT that gives ``source`` (a SELECT) its ``_row`` and ``_time``.

    Rows are ordered by primary key, else by every column, so the numbering does not depend on the
    order the rows came in.

    Raises:
        DataError: a key or time column is not among the columns of ``source``.
    """
    names = _columns(con, source, table)
    columns = ", ".join(quoted(name) for name in names)
    order = ", ".join(quoted(name) for name in table.primary_key or names)
    return (
        f"select {columns}, row_number() over () - 1 as _row, {_time(table)} as _time "
        # Sorted once and counted as they come. The text may end in a comment.
        f"from (select {columns} from ({source}\n) order by {order})"
    )


def shown_as_they_are(con: Connection, source: str, table: TableSpec) -> list[str]:
    """What to select of ``source``, whose ``_row`` is right, for what ``numbered_select`` gives.

    Raises:
        DataError: as ``numbered_select``.
    """
    named = [quoted(name) for name in _columns(con, source, table)]
    return [*named, "_row", f"{_time(table)} as _time"]


def _columns(con: Connection, source: str, table: TableSpec) -> list[str]:
    """Columns of a SELECT but for ours; those the table needs are among them."""
    described = con.sql(f"describe {source}").fetchall()
    names = [row[0] for row in described if row[0] not in _OURS]
    needed = (*table.key_columns, *([table.time_column] if table.time_column else []))
    for column in needed:
        if column not in names:
            raise DataError(
                f"column is missing from the aligned table, which has {sorted(names)}",
                table=table.name,
                column=column,
            )
    return names


def _time(table: TableSpec) -> str:
    return f"cast({quoted(table.time_column) if table.time_column else 'null'} as timestamp)"


def links_select(table: TableSpec) -> str:
    """SELECT that gives each row of ``aligned.<table>`` the ``_row`` of every parent, or NULL.

    ``_moment`` is the row's time in microseconds since 1970, so that whoever orders the rows of a
    parent reads this table alone.
    """
    joins, columns = [], ["child._row", "epoch_us(child._time) as _moment"]
    for index, key in enumerate(table.foreign_keys):
        parent = f"p{index}"
        on = " and ".join(
            f"child.{quoted(mine)} = {parent}.{quoted(theirs)}"
            for mine, theirs in zip(key.columns, key.references_columns, strict=True)
        )
        joins.append(f"left join aligned.{quoted(key.references_table)} as {parent} on {on}")
        columns.append(f"{parent}._row as _fk_{index}")
    return (
        f"select {', '.join(columns)} from aligned.{quoted(table.name)} as child "
        f"{' '.join(joins)} order by child._row"
    )


def check_unique(con: Connection, relation: str, table: str, columns: tuple[str, ...]) -> None:
    """Refuse a key that names several rows of a relation (quoted); NULL names none.

    Raises:
        DataError: with the rows too many, and one such key.
    """
    keys = ", ".join(quoted(column) for column in columns)
    known = " and ".join(f"{quoted(column)} is not null" for column in columns)
    twice = con.sql(
        f"select {keys}, count(*) - 1 from {relation} where {known} "
        f"group by {keys} having count(*) > 1 order by {keys}"
    ).fetchall()
    if twice:
        example = twice[0][0] if len(columns) == 1 else twice[0][:-1]
        raise DataError(
            "key is not unique",
            table=table,
            column="+".join(columns),
            rows=sum(row[-1] for row in twice),
            example=example,
        )


def check_links(con: Connection, table: TableSpec) -> None:
    """Refuse a link table with more rows than its table: some referenced key is not unique."""
    counted = con.sql(
        f"select (select count(*) from aligned.{quoted(table.name)}), "
        f"(select count(*) from aligned.{quoted('links_' + table.name)})"
    ).fetchall()[0]
    if counted[0] == counted[1]:
        return
    for key in table.foreign_keys:
        parent = key.references_table
        check_unique(con, f"aligned.{quoted(parent)}", parent, key.references_columns)


def number_rows(con: Connection, source: str, table: TableSpec) -> None:
    """Create ``aligned.<table>`` from a SELECT."""
    con.execute("create schema if not exists aligned")
    select = numbered_select(con, source, table)
    con.execute(f"create or replace table aligned.{quoted(table.name)} as {select}")


def link_rows(con: Connection, table: TableSpec) -> None:
    """Create ``aligned.links_<table>``; every referenced table must be numbered already."""
    links = quoted("links_" + table.name)
    con.execute(f"create or replace table aligned.{links} as {links_select(table)}")
    check_links(con, table)
    _assert_side_by_side(con, f"aligned.{quoted(table.name)}", f"aligned.{links}")


def _assert_side_by_side(con: Connection, rows: str, links: str) -> None:
    """Both tables are stored in row order, so that a row is read beside its links unsearched."""
    apart = con.sql(
        f"select count(*) from {rows} as own positional join {links} as links "
        "where own._row is distinct from links._row"
    ).fetchall()[0][0]
    assert apart == 0, f"{apart} rows of {rows} are not beside their links"
