"""Reach: which tables a model of the target can read, and how deep it must look for them."""

from collections.abc import Sequence

from nexus_model.align.paths import find_paths, unreached_tables
from nexus_model.schema import DatabaseSpec, ForeignKey, Record, TableSpec
from nexus_pipeline.propose.keys import Keys

_USUAL_DEPTH, _DEEPEST, _MOST_PATHS = 2, 4, 16


class Reach(Record):
    """``max_depth`` of the alignment, the paths it gives, and tables no path reaches."""

    max_depth: int
    paths: int
    lost: tuple[str, ...] = ()


def find_reach(tables: Sequence[str], keys: Keys, entity: str) -> Reach:
    """The usual depth, deeper if that reaches more, shallower if the paths become too many."""
    depths = {depth: _at(tables, keys, entity, depth) for depth in range(1, _DEEPEST + 1)}
    fits = [reach for reach in depths.values() if reach.paths <= _MOST_PATHS] or [depths[1]]
    fewest = min(len(reach.lost) for reach in fits)
    best = [reach for reach in fits if len(reach.lost) == fewest]
    usual = [reach for reach in best if reach.max_depth == _USUAL_DEPTH]
    return usual[0] if usual else best[0]


def _at(tables: Sequence[str], keys: Keys, entity: str, depth: int) -> Reach:
    database = DatabaseSpec(
        tables=tuple(
            TableSpec(
                name=table,
                foreign_keys=tuple(
                    ForeignKey(
                        columns=link.columns,
                        references_table=link.parent,
                        references_columns=link.references_columns,
                    )
                    for link in keys.links_of(table)
                ),
            )
            for table in tables
        )
    )
    paths = find_paths(database, entity, depth)
    return Reach(max_depth=depth, paths=len(paths), lost=unreached_tables(database, paths))
