"""Foreign keys: which columns name rows of other tables, by name, type and contained values.

Whole numbers that count from one are contained in each other whatever they mean, so for them the
name must say it too.
"""

from collections.abc import Iterator, Mapping, Sequence

import duckdb

from nexus_model.schema import Record
from nexus_pipeline.propose.evidence import ACCEPTED, WORTH_SAYING, ProposedKey, ProposedLink
from nexus_pipeline.propose.key_values import Contained, contained, may_be_key
from nexus_pipeline.propose.names import core, names_table, says_key, words
from nexus_pipeline.propose.primary_keys import alternate_keys
from nexus_pipeline.propose.profile import ColumnProfile, TableProfile

_NAMED = 0.7
_LEAST_CONTAINED = 0.2
_CODES = 3
_MANY = 1.5


class KeyedTable(Record):
    """A table with its key, the other columns that name rows, and the words of its name."""

    profile: TableProfile
    key: ProposedKey | None
    alternates: tuple[str, ...]
    named: tuple[str, ...]


class Links(Record):
    """Accepted foreign keys, and others worth saying."""

    accepted: tuple[ProposedLink, ...]
    uncertain: tuple[ProposedLink, ...] = ()


def keyed_table(
    profile: TableProfile, key: ProposedKey | None, named: tuple[str, ...]
) -> KeyedTable:
    """A table as a possible parent."""
    alternates = alternate_keys(profile, key.columns if key else ())
    return KeyedTable(profile=profile, key=key, alternates=alternates, named=named)


def single_links(con: duckdb.DuckDBPyConnection, tables: Sequence[KeyedTable]) -> Links:
    """Foreign keys of one column."""
    accepted: list[ProposedLink] = []
    uncertain: list[ProposedLink] = []
    for child in tables:
        for column in child.profile.columns:
            if not may_be_key(column) or column.family == "time":
                continue
            found = sorted(_links_of(con, child, column, tables), key=lambda link: -link.confidence)
            if found and found[0].confidence >= ACCEPTED:
                accepted.append(found[0])
                found = [link for link in found[1:] if link.confidence > found[0].confidence - 0.1]
            uncertain += [link for link in found[:2] if link.confidence >= WORTH_SAYING]
    kept = _without_mutual(accepted, {table.profile.table: table for table in tables})
    return Links(accepted=tuple(kept), uncertain=tuple(uncertain))


def composite_links(
    con: duckdb.DuckDBPyConnection, tables: Sequence[KeyedTable], single: Sequence[ProposedLink]
) -> Links:
    """Foreign keys of several columns, each named as in the parent's key."""
    linked = {(link.table, link.columns[0]) for link in single}
    found: dict[tuple[str, tuple[str, ...]], list[tuple[tuple[float, ...], ProposedLink]]] = {}
    for parent in tables:
        key = parent.key.columns if parent.key else ()
        named = [(parent.profile.table, name) in linked for name in key]
        # A table whose key is nothing but foreign keys relates others; nobody names its rows.
        if len(key) < 2 or all(named):
            continue
        for child in tables:
            link = _composite(con, child, parent, _MANY if any(named) else 0.0)
            if link is not None and link.confidence >= WORTH_SAYING:
                rank = (link.confidence, -len(parent.named), float(parent.profile.rows))
                found.setdefault((link.table, link.columns), []).append((rank, link))
    accepted: list[ProposedLink] = []
    uncertain: list[ProposedLink] = []
    for ranked in found.values():
        best, *others = [link for _, link in sorted(ranked, key=lambda pair: pair[0], reverse=True)]
        (accepted if best.confidence >= ACCEPTED else uncertain).append(best)
        uncertain += others[:2]
    return Links(accepted=tuple(accepted), uncertain=tuple(uncertain))


def _links_of(
    con: duckdb.DuckDBPyConnection,
    child: KeyedTable,
    column: ColumnProfile,
    tables: Sequence[KeyedTable],
) -> Iterator[ProposedLink]:
    own = child.key.columns if child.key else ()
    for parent in tables:
        primary = parent.key.columns if parent.key and len(parent.key.columns) == 1 else ()
        for key in (*primary, *parent.alternates):
            same = parent is child
            if same and (key == column.name or column.name in child.alternates):
                continue
            name, told = names_table(column.name, parent.named, key, same_table=same)
            if not same and set(child.named[: len(parent.named)]) == set(parent.named):
                name, told = max((name, told), _as_part(column, child, parent))
            if not same and not core(column.name):
                name, told = max((name, told), _same_id(column, key, child, tables))
            if (column.name,) == tuple(own) and name < 0.95:
                continue
            named_alike = core(column.name) == core(key)
            if key in parent.alternates and parent.key is not None and not named_alike:
                continue
            link = _judged(con, (child, column), (parent, key), name, told)
            if link is not None:
                yield link


def _as_part(column: ColumnProfile, child: KeyedTable, parent: KeyedTable) -> tuple[float, str]:
    """``parent_id`` of ``circuit_layouts`` names a circuit."""
    if core(column.name) == ("parent",) and len(child.named) > len(parent.named):
        return 0.85, f"a part of {parent.profile.table} by the tables' names"
    return 0.0, ""


def _same_id(
    column: ColumnProfile, key: str, child: KeyedTable, tables: Sequence[KeyedTable]
) -> tuple[float, str]:
    """``id`` that repeats is not its table's own: it names rows of the one with such a key."""
    if words(column.name) != words(key) or column.distinct == column.values:
        return 0.0, ""
    keyed = [t for t in tables if t is not child and t.key and len(t.key.columns) == 1]
    named = [t for t in keyed if t.key and words(t.key.columns[0]) == words(key)]
    if len(named) != 1:
        return 0.0, ""
    return 0.75, f"it is named like {key} and repeats here, and no other table has such a key"


def _judged(
    con: duckdb.DuckDBPyConnection,
    child: tuple[KeyedTable, ColumnProfile],
    parent: tuple[KeyedTable, str],
    name: float,
    told: str,
) -> ProposedLink | None:
    column, target = child[1], parent[0].profile[parent[1]]
    if not _may_contain(column, target, name):
        return None
    found = contained(con, (child[0].profile, [column.name]), (parent[0].profile, [target.name]))
    if found.share < _LEAST_CONTAINED:
        return None
    confidence = _confidence(column, target, name, found)
    key = parent[0].key
    if confidence and key and key.columns == (target.name,):
        named_so = core(target.name) == parent[0].named or not core(target.name)
        confidence += 0.02 + 0.03 * named_so
    return ProposedLink(
        table=child[0].profile.table,
        columns=(column.name,),
        parent=parent[0].profile.table,
        references_columns=(target.name,),
        confidence=round(min(confidence, 1.0), 3),
        orphans=1 - found.rows_share,
        recast=column.family != target.family,
        reason=_told(told, found, target),
    )


def _may_contain(column: ColumnProfile, target: ColumnProfile, name: float) -> bool:
    """What can be said without looking at the values."""
    if column.family != target.family and (
        name < _NAMED or "time" in {column.family, target.family}
    ):
        return False
    if name >= _NAMED:
        return True
    if column.distinct < _CODES or column.distinct > target.distinct * 1.3:
        return False
    if column.family == "number":
        return says_key(column.name) or column.distinct >= 0.5 * target.distinct
    return (column.low or "") >= (target.low or "") and (column.high or "") <= (target.high or "")


def _confidence(
    column: ColumnProfile, target: ColumnProfile, name: float, found: Contained
) -> float:
    if name >= _NAMED:
        # Two values are contained in anything; then only an exact name counts.
        if column.distinct <= 2 and column.family == "number" and name < 0.9:
            return 0.0
        return 0.4 * name + 0.6 * found.share
    if column.family == "number":
        wide = target.distinct >= 30 and found.share == 1.0 and column.distinct < column.values
        spans = found.used >= (0.5 if not _counts_up(target) else 0.9)
        if not (wide and spans):
            return 0.0
        return 0.62 if says_key(column.name) or not _counts_up(target) else 0.45
    foreign_word = says_key(column.name) and bool(core(column.name))
    if found.share < (0.99 if foreign_word else 0.95):
        return 0.42 if found.share > 0.9 and column.distinct > 20 else 0.0
    return 0.6 + 0.15 * min(1.0, 2 * found.used)


def _counts_up(target: ColumnProfile) -> bool:
    """Whole numbers from 0 or 1 with few gaps."""
    if target.family != "number" or target.low is None or target.high is None:
        return False
    low, high = float(target.low), float(target.high)
    return 0 <= low <= 1 and high <= 3 * target.distinct


def _told(named: str, found: Contained, target: ColumnProfile) -> str:
    values = f"{found.share:.0%} of its values are in {target.name}"
    if found.share == 1.0:
        values = f"all its values are in {target.name}"
    by_rows = f", {1 - found.rows_share:.1%} of rows name none" if found.rows_share < 1 else ""
    return f"{named or 'by its values alone'}; {values}{by_rows}; it uses {found.used:.0%} of them"


def _without_mutual(
    links: Sequence[ProposedLink], tables: Mapping[str, KeyedTable]
) -> list[ProposedLink]:
    """Of two tables that name each other's rows by the same columns one is the parent."""
    pairs = {(link.table, link.columns, link.parent, link.references_columns) for link in links}
    kept = []
    for link in links:
        back = (link.parent, link.references_columns, link.table, link.columns)
        if link.table == link.parent or back not in pairs:
            kept.append(link)
            continue
        if _parenthood(link, tables[link.parent]) > _parenthood(link, tables[link.table]) or (
            _parenthood(link, tables[link.parent]) == _parenthood(link, tables[link.table])
            and link.parent < link.table
        ):
            kept.append(link)
    return kept


def _parenthood(link: ProposedLink, table: KeyedTable) -> tuple[bool, int, int]:
    key = link.references_columns[0]
    return core(key) == table.named, -len(table.named), table.profile.rows


def _composite(
    con: duckdb.DuckDBPyConnection, child: KeyedTable, parent: KeyedTable, least_rows: float
) -> ProposedLink | None:
    """``least_rows`` of the child there must be for a row of the parent, on average."""
    key = parent.key.columns if parent.key else ()
    if child is parent:
        return None
    columns = [_same_named(child.profile, name, parent.profile[name].family) for name in key]
    mine = tuple(column for column in columns if column is not None)
    if len(mine) < len(key):
        return None
    if child.key is not None and set(mine) == set(child.key.columns):
        begins = child.named[: len(parent.named)] == parent.named
        if not begins or len(child.named) == len(parent.named):
            return None
    found = contained(con, (child.profile, mine), (parent.profile, key))
    pairs = con.execute(
        f'SELECT coalesce(avg(rows), 0) FROM "values {child.profile.table} {" ".join(mine)}"'
    ).fetchall()[0][0]
    if found.share < 0.5 or pairs < least_rows:
        return None
    return ProposedLink(
        table=child.profile.table,
        columns=mine,
        parent=parent.profile.table,
        references_columns=key,
        confidence=round(0.4 + 0.6 * found.share, 3),
        orphans=1 - found.rows_share,
        reason=f"the same names; {found.share:.0%} of its pairs are there, {pairs:.1f} rows each",
    )


def _same_named(table: TableProfile, name: str, family: str) -> str | None:
    return next(
        (
            column.name
            for column in table.columns
            if words(column.name) == words(name) and column.family == family
        ),
        None,
    )
