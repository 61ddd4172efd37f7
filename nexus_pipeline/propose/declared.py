"""Keys that a database file declares, read from its catalogue; believed where rows keep them."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import duckdb

from nexus_pipeline.propose.evidence import ProposedKey, ProposedLink
from nexus_pipeline.propose.key_values import contained
from nexus_pipeline.propose.keys import Keys
from nexus_pipeline.propose.profile import TableProfile
from nexus_pipeline.propose.source import DeclaredLink, Form, Source
from nexus_pipeline.storage.names import literal, quote, quote_all, quote_table

_LEAST_CONTAINED = 0.5


def read_declared(source: Source) -> Source:
    """The source with the keys its database declares, if it comes from one."""
    match source.form:
        case Form.SQLITE:
            key, links = _of_sqlite(source.file, source.member)
        case Form.DUCKDB:
            key, links = _of_duckdb(source.file, source.member)
        case _:
            return source
    return source.model_copy(update={"primary_key": key, "foreign_keys": links})


def _of_sqlite(file: Path, table: str) -> tuple[tuple[str, ...], tuple[DeclaredLink, ...]]:
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as con:
        columns = con.execute(f"PRAGMA table_info({quote(table)})").fetchall()
        parts = con.execute(f"PRAGMA foreign_key_list({quote(table)})").fetchall()
    key = tuple(row[1] for row in sorted(columns, key=lambda row: row[5]) if row[5])
    links = []
    for number in sorted({row[0] for row in parts}):
        own = sorted((row for row in parts if row[0] == number), key=lambda row: row[1])
        references = tuple(row[4] for row in own if row[4] is not None)
        columns_of = tuple(row[3] for row in own)
        links.append(DeclaredLink(columns=columns_of, parent=own[0][2], references=references))
    return key, tuple(links)


def _of_duckdb(file: Path, member: str) -> tuple[tuple[str, ...], tuple[DeclaredLink, ...]]:
    schema, _, table = member.partition(".")
    with duckdb.connect() as con:
        con.execute(f"ATTACH {literal(str(file))} AS given (READ_ONLY)")
        rows = con.execute(
            "SELECT constraint_type, constraint_column_names, referenced_table, "
            "referenced_column_names FROM duckdb_constraints() WHERE database_name = 'given' "
            "AND schema_name = ? AND table_name = ? ORDER BY constraint_index",
            [schema, table],
        ).fetchall()
    key: tuple[str, ...] = next((tuple(r[1]) for r in rows if r[0] == "PRIMARY KEY"), ())
    links = tuple(
        DeclaredLink(columns=tuple(r[1]), parent=f"{schema}.{r[2]}", references=tuple(r[3]))
        for r in rows
        if r[0] == "FOREIGN KEY"
    )
    return key, links


def with_declared(
    con: duckdb.DuckDBPyConnection,
    keys: Keys,
    tables: Sequence[TableProfile],
    sources: Mapping[str, Source],
) -> Keys:
    """Keys with those that were declared before those that were found.

    A declared primary key that repeats or is empty somewhere, and a foreign key most of whose
    values name nothing, are left to what was found: SQLite keeps neither unless it is told to.
    """
    profiles = {table.table: table for table in tables}
    members = {(s.file, s.member.lower()): name for name, s in sources.items() if s.member}
    primary, links = dict(keys.primary), []
    for name, source in sources.items():
        columns = _spelled(profiles[name], source.primary_key)
        if columns and _is_kept(con, profiles[name], columns):
            primary[name] = ProposedKey(
                table=name, columns=columns, score=2.0, reason=f"declared in {source.file.name}"
            )
    for name, source in sources.items():
        for link in source.foreign_keys:
            parent = members.get((source.file, link.parent.lower()))
            found = parent and _declared_link(con, profiles[name], profiles[parent], link, primary)
            if found:
                links.append(found.model_copy(update={"reason": _told(found, source)}))
    said = {(link.table, link.columns) for link in links}
    others, doubted = (
        tuple(link for link in known if (link.table, link.columns) not in said)
        for known in (keys.links, keys.uncertain)
    )
    return Keys(primary=primary, links=(*links, *others), uncertain=doubted)


def _told(link: ProposedLink, source: Source) -> str:
    lost = f"; {link.orphans:.1%} of rows name none" if link.orphans else ""
    return f"declared in {source.file.name}{lost}"


def _spelled(table: TableProfile, columns: Sequence[str]) -> tuple[str, ...]:
    """Column names as the table has them; none if one is not there."""
    known = {column.name.lower(): column.name for column in table.columns}
    found = tuple(known[name.lower()] for name in columns if name.lower() in known)
    return found if len(found) == len(columns) else ()


def _is_kept(con: duckdb.DuckDBPyConnection, table: TableProfile, columns: tuple[str, ...]) -> bool:
    filled = " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
    different, rows = con.execute(
        f"SELECT count(DISTINCT ({quote_all(list(columns))})) FILTER ({filled}), count(*) "
        f"FROM {quote_table(f'raw.{table.table}')}"
    ).fetchall()[0]
    return bool(different == rows)


def _declared_link(
    con: duckdb.DuckDBPyConnection,
    child: TableProfile,
    parent: TableProfile,
    link: DeclaredLink,
    primary: Mapping[str, ProposedKey],
) -> ProposedLink | None:
    mine = _spelled(child, link.columns)
    theirs = _spelled(parent, link.references)
    if not theirs and parent.table in primary:
        theirs = primary[parent.table].columns
    if not mine or len(mine) != len(theirs):
        return None
    families = [(child[a].family, parent[b].family) for a, b in zip(mine, theirs, strict=True)]
    alike = all(own == other for own, other in families)
    if not alike and (len(mine) > 1 or any("time" in pair for pair in families)):
        return None
    found = contained(con, (child, mine), (parent, theirs))
    if found.share < _LEAST_CONTAINED or not _is_kept(con, parent, theirs):
        return None
    return ProposedLink(
        table=child.table,
        columns=mine,
        parent=parent.table,
        references_columns=theirs,
        confidence=1.0,
        orphans=1 - found.rows_share,
        recast=not alike,
        reason="declared",
    )
