"""Rows numbered, dated and linked: the integer form of a database that every later stage reads.

``aligned.<table>`` holds a table's columns plus ``_row`` (0..R-1, ordered by key) and ``_time``;
``aligned.links_<table>`` holds ``_row`` and one ``_fk_<i>`` per foreign key: the ``_row`` it names.
"""

import duckdb

from nexus_model.schema import DataError, TableSpec

Connection = duckdb.DuckDBPyConnection


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
    described = con.sql(f"describe {source}").fetchall()
    types = {row[0]: str(row[1]) for row in described if not row[0].startswith("_")}
    needed = (*table.key_columns, *([table.time_column] if table.time_column else []))
    for column in needed:
        if column not in types:
            raise DataError(
                f"column is missing from the aligned table, which has {sorted(types)}",
                table=table.name,
                column=column,
            )
    columns = ", ".join(quoted(name) for name in types)
    order = ", ".join(quoted(name) for name in table.primary_key or types)
    time = f"cast({quoted(table.time_column)} as timestamp)" if table.time_column else "null"
    return (
        f"select {columns}, row_number() over (order by {order}) - 1 as _row, "
        f"cast({time} as timestamp) as _time from ({source}) order by _row"
    )


def links_select(table: TableSpec) -> str:
    """SELECT that gives each row of ``aligned.<table>`` the ``_row`` of every parent, or NULL."""
    joins, columns = [], ["child._row"]
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


def check_links(con: Connection, table: TableSpec) -> None:
    """Refuse a link table with more rows than its table: some referenced key is not unique."""
    counted = con.sql(
        f"select (select count(*) from aligned.{quoted(table.name)}), "
        f"(select count(*) from aligned.{quoted('links_' + table.name)})"
    ).fetchall()[0]
    if counted[0] != counted[1]:
        raise DataError(
            "a foreign key names more than one row of the referenced table",
            table=table.name,
            rows=counted[1] - counted[0],
        )


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
