"""Relation paths: the ways from an entity along foreign keys to the rows a sample gathers.

A hop goes *down* (one to many: from a row to the rows that reference it) or *up* (many to one: to
the row it references). A path ends with a hop down, since parents are read by their child row
directly.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from nexus_model.schema import ConfigurationError, DatabaseSpec, Record


class Hop(Record):
    """One foreign key crossed: ``table.foreign_keys[key]``, towards ``reaches``."""

    direction: Literal["up", "down"]
    table: str
    key: int
    reaches: str


class RelationPath(Record):
    """Hops from the entity table; none for the entity's own row.

    >>> RelationPath(name="drivers", table="drivers").hops
    ()
    """

    name: str
    table: str
    hops: tuple[Hop, ...] = ()


def find_paths(
    database: DatabaseSpec,
    entity_table: str,
    max_depth: int,
    explicit: Sequence[Sequence[str]] = (),
) -> tuple[RelationPath, ...]:
    """The entity's own row, every path of at most ``max_depth`` hops, then the explicit ones.

    A path never crosses the same foreign key twice in a row, so an order does not reach its
    own customer's other orders by way of the customer unless such a path is asked for.

    Raises:
        ConfigurationError: an explicit path names tables that no foreign key connects.
    """
    found = [RelationPath(name=entity_table, table=entity_table)]
    found += [_named(database, hops) for hops in _walk(database, entity_table, max_depth)]
    for tables in explicit:
        path = _named(database, _follow(database, entity_table, tables))
        if path not in found:
            found.append(path)
    return tuple(found)


def unreached_tables(database: DatabaseSpec, paths: Sequence[RelationPath]) -> tuple[str, ...]:
    """Tables that neither end a path nor are read as somebody's parent."""
    reached = {path.table for path in paths}
    grown = True
    while grown:
        parents = {key.references_table for name in reached for key in database[name].foreign_keys}
        grown = not parents <= reached
        reached |= parents
    return tuple(name for name in database.names if name not in reached)


def _hops_from(database: DatabaseSpec, table: str) -> Iterator[Hop]:
    for other in database.tables:
        for index, key in enumerate(other.foreign_keys):
            if key.references_table == table:
                yield Hop(direction="down", table=other.name, key=index, reaches=other.name)
    for index, key in enumerate(database[table].foreign_keys):
        yield Hop(direction="up", table=table, key=index, reaches=key.references_table)


def _walk(
    database: DatabaseSpec, table: str, depth: int, so_far: tuple[Hop, ...] = ()
) -> Iterator[tuple[Hop, ...]]:
    if len(so_far) == depth:
        return
    longer = []
    for hop in _hops_from(database, table):
        if so_far and (hop.table, hop.key) == (so_far[-1].table, so_far[-1].key):
            continue
        hops = (*so_far, hop)
        if hop.direction == "down":
            yield hops
        longer.append(hops)
    for hops in longer:
        yield from _walk(database, hops[-1].reaches, depth, hops)


def _follow(database: DatabaseSpec, entity_table: str, tables: Sequence[str]) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    here = entity_table
    for name in tables:
        hop = next((hop for hop in _hops_from(database, here) if hop.reaches == name), None)
        if hop is None:
            raise ConfigurationError(
                f"alignment.paths: no foreign key connects {here!r} and {name!r} in {list(tables)}"
            )
        hops.append(hop)
        here = name
    if not hops or hops[-1].direction == "up":
        raise ConfigurationError(
            f"alignment.paths: {list(tables)} must end at a table with many rows per entity; "
            "parents are read through their child"
        )
    return tuple(hops)


def _named(database: DatabaseSpec, hops: tuple[Hop, ...]) -> RelationPath:
    parts = []
    for hop in hops:
        key = database[hop.table].foreign_keys[hop.key]
        here = key.references_table if hop.direction == "down" else hop.table
        told = "+".join(key.columns)
        if key.references_table == hop.table:
            told += f" {hop.direction}"
        ambiguous = sum(way.reaches == hop.reaches for way in _hops_from(database, here)) > 1
        parts.append(f"{hop.reaches}[{told}]" if ambiguous else hop.reaches)
    return RelationPath(name="/".join(parts), table=hops[-1].reaches, hops=hops)
