"""Which aggregates a task gets: paths from the entity, their columns, and the features kept.

Three sorts of path end at a table of many rows per sample:

1. *direct*: rows that reference the entity (``race_results``);
2. *two keys*: rows that reference such a row (``races/race_results`` of a circuit);
3. *of the last parent*: the parent that the newest visible direct row names, and the rows that
   reference it (``race_results/constructors/constructor_standings``: the present team's form);
4. *of an own parent*: rows that reference what the entity references too (``airports/departures``
   of a flight: what others did there).

More than ``MOST_FEATURES`` are cut by rank: the statistic's own rank (``STATISTICS``), plus one for
a path of sorts 2 to 4, plus one for a column read from a row's parent; ties in declared order.
"""

from collections.abc import Iterator
from typing import NamedTuple

from nexus_model.schema import DatabaseSpec, SemanticType, TableSpec, TaskKind, TaskSpec

MOST_FEATURES = 600
DAYS = (30, 90, 365)
LAST_ROWS = (3, 5, 10, 25, 40)

STATISTICS: dict[SemanticType | None, dict[str, int]] = {
    None: {
        "count": 0,
        "days_since_last": 0,
        "days_since_first": 1,
        "count_90d": 1,
        "count_365d": 1,
        "count_30d": 2,
    },
    SemanticType.NUMERICAL: {
        "last": 0,
        "mean_10": 0,
        "mean": 0,
        "mean_3": 1,
        "mean_365d": 1,
        "trend": 1,
        "mean_5": 2,
        "mean_90d": 2,
        "mean_25": 2,
        "mean_40": 3,
        "mean_30d": 3,
        "min": 3,
        "max": 3,
    },
    SemanticType.CATEGORICAL: {"last": 0, "distinct": 1, "mode_share": 1},
    SemanticType.TIMESTAMP: {"days": 0},
    SemanticType.TEXT: {},
}
# Only defined at a cutoff.
_OF_TIME = frozenset(
    ["days_since_last", "days_since_first"]
    + [f"{statistic}_{days}d" for statistic in ("count", "mean") for days in DAYS]
)
# Of the last parent's rows only these: they describe somebody else, and there are more of them.
_OF_PARENT = {"count": 0, "last": 0, "mean_10": 0, "mean_40": 1, "mean_365d": 1, "days": 0}


class PathColumn(NamedTuple):
    """A column of a path's rows: of the row itself or, by foreign key ``key``, of its parent."""

    name: str
    column: str | None
    semantic: SemanticType
    key: int | None = None

    @property
    def rank(self) -> int:
        """Columns of the row come before columns of its parents."""
        return int(self.key is not None and self.column is not None)


class AggregatePath(NamedTuple):
    """Rows of ``table`` found by its foreign key ``key``.

    ``through`` is the table between, reached from the entity by that table's ``through_key``.
    ``anchor`` is the direct path and foreign key whose last value is used instead of the entity,
    ``own_key`` the entity's own foreign key that is.
    """

    name: str
    table: TableSpec
    key: int
    is_timed: bool
    columns: tuple[PathColumn, ...]
    through: TableSpec | None = None
    through_key: int = 0
    anchor: tuple[str, str] | None = None
    own_key: int | None = None


class Feature(NamedTuple):
    """One statistic of one column of one path; no column for statistics of the rows themselves."""

    path: str
    column: PathColumn | None
    statistic: str
    rank: int

    @property
    def name(self) -> str:
        """Such as ``race_results.points.mean_10``."""
        column = [self.column.name] if self.column else []
        return ".".join([self.path, *column, self.statistic])


def aggregate_paths(database: DatabaseSpec, task: TaskSpec) -> list[AggregatePath]:
    """Direct paths, two-key paths, those of the last parent, those of the entity's own parents."""
    direct = list(_direct(database, task))
    return [
        *direct,
        *_two_keys(database, task, direct),
        *_of_last_parent(database, task, direct),
        *_of_own_parent(database, task),
    ]


def kept_features(paths: list[AggregatePath], *, room: int = MOST_FEATURES) -> list[Feature]:
    """The features that fit in ``room``, in declared order."""
    every = [feature for path in paths for feature in _features(path)]
    ranked = sorted(range(len(every)), key=lambda place: (every[place].rank, place))
    return [every[place] for place in sorted(ranked[: max(room, 0)])]


def is_static(task: TaskSpec) -> bool:
    """Whether the samples have no cutoff and so see everything."""
    return task.horizon_days is None


def own_columns(table: TableSpec, task: TaskSpec) -> Iterator[PathColumn]:
    """Feature columns of the row itself; the label of a static task is not one."""
    for column in table.columns:
        if table.name == task.entity_table and column.name == task.target_column:
            continue
        yield PathColumn(column.name, column.name, column.semantic)
        if table.name.startswith("label_history") and _is_labelled_class(column.semantic, task):
            # A past 0/1 label is stored as a category; its mean is what predicts.
            yield PathColumn(f"{column.name}.number", column.name, SemanticType.NUMERICAL)


def _is_labelled_class(semantic: SemanticType, task: TaskSpec) -> bool:
    return semantic is SemanticType.CATEGORICAL and task.kind is not TaskKind.MULTICLASS


def parent_columns(
    database: DatabaseSpec, table: TableSpec, task: TaskSpec, without: int | None
) -> Iterator[PathColumn]:
    """The named parent itself and the parent's columns, for every key but ``without``."""
    for index, key in enumerate(table.foreign_keys):
        if index == without:
            continue
        yield PathColumn(key.label, None, SemanticType.CATEGORICAL, index)
        for column in own_columns(database[key.references_table], task):
            yield column._replace(name=f"{key.label}.{column.name}", key=index)


def _children(database: DatabaseSpec, parent: str) -> Iterator[tuple[TableSpec, int, str]]:
    for table in database.tables:
        keys = table.foreign_keys
        several = sum(key.references_table == parent for key in keys) > 1
        for index, key in enumerate(keys):
            if key.references_table == parent:
                told = f"[{'+'.join(key.columns)}]" if several else ""
                yield table, index, f"{table.name}{told}"


def _direct(database: DatabaseSpec, task: TaskSpec) -> Iterator[AggregatePath]:
    for table, key, name in _children(database, task.entity_table):
        columns = (*own_columns(table, task), *parent_columns(database, table, task, key))
        yield AggregatePath(name, table, key, _is_timed(task, table), columns)


def _two_keys(
    database: DatabaseSpec, task: TaskSpec, direct: list[AggregatePath]
) -> Iterator[AggregatePath]:
    for first in direct:
        for table, key, name in _children(database, first.table.name):
            columns = (*own_columns(table, task), *parent_columns(database, table, task, key))
            yield AggregatePath(
                name=f"{first.name}/{name}",
                table=table,
                key=key,
                is_timed=_is_timed(task, table, first.table),
                columns=columns,
                through=first.table,
                through_key=first.key,
            )


def _of_last_parent(
    database: DatabaseSpec, task: TaskSpec, direct: list[AggregatePath]
) -> Iterator[AggregatePath]:
    seen: set[tuple[str, str, int]] = set()
    for first in direct:
        for index, up in enumerate(first.table.foreign_keys):
            if index == first.key:
                continue
            for table, key, name in _children(database, up.references_table):
                # Two children often name the same parent; the first that does stands for both.
                found = (up.references_table, table.name, key)
                if found in seen:
                    continue
                seen.add(found)
                yield AggregatePath(
                    name=f"{first.name}/{up.label}/{name}",
                    table=table,
                    key=key,
                    is_timed=_is_timed(task, table),
                    columns=tuple(own_columns(table, task)),
                    anchor=(first.name, up.label),
                )


def _of_own_parent(database: DatabaseSpec, task: TaskSpec) -> Iterator[AggregatePath]:
    for index, up in enumerate(database[task.entity_table].foreign_keys):
        for table, key, name in _children(database, up.references_table):
            if table.name == task.entity_table:
                continue
            yield AggregatePath(
                name=f"{up.label}/{name}",
                table=table,
                key=key,
                is_timed=_is_timed(task, table),
                columns=tuple(own_columns(table, task)),
                own_key=index,
            )


def _is_timed(task: TaskSpec, *tables: TableSpec) -> bool:
    return not is_static(task) and any(table.time_column for table in tables)


def _features(path: AggregatePath) -> Iterator[Feature]:
    further = int((path.through, path.anchor, path.own_key) != (None, None, None))
    for column in (None, *path.columns):
        for statistic, rank in STATISTICS[column.semantic if column else None].items():
            if not path.is_timed and statistic in _OF_TIME:
                continue
            if path.anchor and statistic not in _OF_PARENT:
                continue
            own = column.rank if column else 0
            first = _OF_PARENT[statistic] if path.anchor else rank
            yield Feature(path.name, column, statistic, first + further + own)
