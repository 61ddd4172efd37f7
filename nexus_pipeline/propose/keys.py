"""Keys of a whole database: primary keys, then foreign keys, then keys of several columns."""

from collections.abc import Sequence

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.propose.evidence import ProposedKey, ProposedLink
from nexus_pipeline.propose.foreign_keys import composite_links, keyed_table, single_links
from nexus_pipeline.propose.names import table_cores, words
from nexus_pipeline.propose.primary_keys import composite_key, single_key
from nexus_pipeline.propose.profile import TableProfile


class Keys(Record):
    """What names rows, and what names rows of others."""

    primary: dict[str, ProposedKey]
    links: tuple[ProposedLink, ...]
    uncertain: tuple[ProposedLink, ...] = ()

    def links_of(self, table: str) -> tuple[ProposedLink, ...]:
        """Accepted foreign keys of a table."""
        return tuple(link for link in self.links if link.table == table)

    def key_columns(self, table: str) -> set[str]:
        """Columns of a table that are part of some accepted key."""
        key = self.primary.get(table)
        own = set(key.columns) if key else set()
        return own | {name for link in self.links_of(table) for name in link.columns}


def find_keys(con: duckdb.DuckDBPyConnection, tables: Sequence[TableProfile]) -> Keys:
    """Keys of all tables; ``con`` may make temporary tables."""
    named = table_cores([table.table for table in tables])
    primary = {table.table: single_key(con, table, named[table.table]) for table in tables}
    keyed = [keyed_table(table, primary[table.table], named[table.table]) for table in tables]
    single = single_links(con, keyed)
    for table in tables:
        primary[table.table] = _referenced(table, primary[table.table], single.accepted)
    for table in tables:
        linked = {n for link in single.accepted if link.table == table.table for n in link.columns}
        if primary[table.table] is None:
            others = [{words(c.name) for c in t.columns} for t in tables if t is not table]
            primary[table.table] = composite_key(con, table, linked, named[table.table], others)
    keyed = [keyed_table(table, primary[table.table], named[table.table]) for table in tables]
    composite = composite_links(con, keyed, single.accepted)
    return Keys(
        primary={name: key for name, key in primary.items() if key},
        links=(*single.accepted, *composite.accepted),
        uncertain=(*single.uncertain, *composite.uncertain),
    )


def _referenced(
    table: TableProfile, key: ProposedKey | None, links: Sequence[ProposedLink]
) -> ProposedKey | None:
    """Of two keys the one that other tables use."""
    used = {link.references_columns for link in links if link.parent == table.table}
    if key is None or not used or key.columns in used:
        return key
    columns = min(used)
    if any(table[name].values < table.seen for name in columns):
        return key
    reason = f"unique and never empty, and what other tables name; {'+'.join(key.columns)} also is"
    return key.model_copy(update={"columns": columns, "reason": reason})
