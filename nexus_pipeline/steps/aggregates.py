"""Point-in-time aggregates of every table around an entity, as one generated SQL statement.

The features a strong single-table model needs: what NexusFormer reads from the rows, flattened by
hand-picked statistics. A row counts for a sample only if it is known at the sample's ``as_of``,
which is its cutoff or earlier; a row reads its parent only if the parent is not later than the row.
Ages of rows and windows of days end at ``as_of``; the calendar and the entity's age are those of
the cutoff, and ``cutoff.days_stale`` is what lies between. Samples of one cutoff are also compared
with each other (``cohort``).

Every statistic is a running window over the rows of a path, so it is worked out once per row and
the samples only look up the newest row they may see (``ASOF JOIN``). The work grows with rows plus
samples, never with their product.
"""

from collections.abc import Collection

import duckdb
import pyarrow as pa

from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec, SemanticType, TaskSpec
from nexus_pipeline.steps.aggregate_paths import (
    DAYS,
    MOST_FEATURES,
    AggregatePath,
    Feature,
    PathColumn,
    aggregate_paths,
    is_static,
    kept_features,
    own_columns,
    parent_columns,
)
from nexus_pipeline.steps.aggregate_rows import (
    DAY_SECONDS,
    Question,
    column_value,
    days_before,
    known_by,
    path_parts,
)
from nexus_pipeline.steps.cohort import cohort_parts, cohort_selected, compared_features

# Feature names start with these, or with the name of a path.
OWN, PARENT, CUTOFF = "entity.", "parent.", "cutoff."

_CALENDAR = {"year": "year", "month": "month", "day_of_year": "dayofyear"}


def aggregate_features(
    con: duckdb.DuckDBPyConnection, database: DatabaseSpec, task: TaskSpec
) -> pa.Table:
    """One row of features per sample, in sample order.

    Categories are strings, as they stand in the tables: a code for them would have to be fitted,
    which is the business of whoever trains on them.
    """
    return _features(con, feature_sql(con, database, task))


def entity_features(
    con: duckdb.DuckDBPyConnection, database: DatabaseSpec, task: TaskSpec
) -> pa.Table:
    """Only the entity's own columns and the cutoff's calendar: what one table alone knows."""
    table = _features(con, feature_sql(con, database, task, most_features=0))
    own = [name for name in table.column_names if name.startswith((OWN, CUTOFF))]
    return table.select(own)


def feature_sql(
    con: duckdb.DuckDBPyConnection,
    database: DatabaseSpec,
    task: TaskSpec,
    *,
    most_features: int = MOST_FEATURES,
) -> str:
    """The SELECT that gives the features, as it fits the tables of this connection."""
    return aggregate_sql(
        database,
        task,
        apart=_apart(con),
        most_features=most_features,
        is_stale=_is_stale(con, task),
    )


def linked_rows(con: duckdb.DuckDBPyConnection, table: str) -> str:
    """What to select from for the rows of a table with their ``_fk_<i>``."""
    return _source(table, _apart(con))


def _features(con: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    return con.sql(sql).to_arrow_table().drop_columns(["sample"])


def _is_stale(con: duckdb.DuckDBPyConnection, task: TaskSpec) -> bool:
    """Whether some sample has to answer at its cutoff from what was known before."""
    if is_static(task):
        return False
    table = f"aligned.{quoted('samples_' + task.name)}"
    return bool(
        con.sql(f"select coalesce(bool_or(as_of < cutoff), false) from {table}").fetchall()[0][0]
    )


def _apart(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Tables whose links are only found in ``aligned.links_<table>``."""
    columns = con.sql(
        "select table_name, column_name from information_schema.columns "
        "where table_schema = 'aligned'"
    ).fetchall()
    beside = {table for table, column in columns if column.startswith("_fk_")}
    links = {table for table in beside if table.startswith("links_")}
    return {table.removeprefix("links_") for table in links} - beside


def aggregate_sql(
    database: DatabaseSpec,
    task: TaskSpec,
    *,
    apart: Collection[str] = (),
    most_features: int = MOST_FEATURES,
    is_stale: bool = False,
) -> str:
    """The SELECT that gives ``sample`` and the features, for somebody to read or run.

    Tables in ``apart`` have their ``_fk_<i>`` in ``aligned.links_<table>``, others beside their
    columns. ``most_features`` does not count the comparisons within a cohort.
    """
    sources = {name: _source(name, apart) for name in database.names}
    question = Question(database, task, sources)
    columns = _entity_columns(question) + _calendar(task, is_stale=is_stale)
    paths = aggregate_paths(database, task)
    kept = kept_features(paths, room=most_features - len(columns))
    parts, joins = [_samples(task)], _entity_joins(question)
    for path, features in _features_of_paths(paths, kept):
        parts += path_parts(question, path, features)
        seen = quoted(f"seen.{path.name}")
        joins.append(f"left join {seen} on {seen}.sample = samples.sample")
    columns += [f"{quoted('seen.' + feature.path)}.{quoted(feature.name)}" for feature in kept]
    moments = [] if is_static(task) else ["samples.cutoff", "samples.as_of"]
    listed, told = ",\n        ".join(["samples.sample", *moments, *columns]), "\n    ".join(joins)
    select = f"select\n        {listed}\n    from samples\n    {told}"
    parts.append(f"features as materialized (\n    {select}\n)")
    compared = [] if is_static(task) else compared_features(kept)
    asked = ["features.*" if is_static(task) else "features.* exclude (cutoff, as_of)"]
    source = "features"
    if compared:
        parts += cohort_parts(compared)
        asked += cohort_selected()
        source += "\nleft join cohort on cohort.sample = features.sample"
    tables, selected = ",\n".join(parts), ",\n    ".join(asked)
    return f"with {tables}\nselect\n    {selected}\nfrom {source}\norder by features.sample"


def _source(name: str, apart: Collection[str]) -> str:
    table, links = f"aligned.{quoted(name)}", f"aligned.{quoted('links_' + name)}"
    return f"(select * from {table} inner join {links} using (_row))" if name in apart else table


def _samples(task: TaskSpec) -> str:
    before = [f"as_of - interval {days} day as before_{days}" for days in DAYS]
    moments = [] if is_static(task) else ["cutoff", "as_of", *before]
    columns = ["sample", "entity_row", *moments]
    table = f"aligned.{quoted('samples_' + task.name)}"
    return f"samples as (\n    select {', '.join(columns)}\n    from {table}\n)"


def _entity_joins(question: Question) -> list[str]:
    name, moment = question.task.entity_table, "samples.as_of"
    joins = [
        f"left join {question.sources[name]} as entity on entity._row = samples.entity_row"
        f"{known_by(question, 'entity', name, moment)}"
    ]
    for index, key in enumerate(question.database[name].foreign_keys):
        parent, alias = key.references_table, f"parent_{index}"
        joins.append(
            f"left join aligned.{quoted(parent)} as {alias} on {alias}._row = entity._fk_{index}"
            f"{known_by(question, alias, parent, moment)}"
        )
    return joins


def _entity_columns(question: Question) -> list[str]:
    """The entity's own columns and its parents' columns."""
    database, task, _ = question
    entity = database[task.entity_table]
    columns = [_as_feature("entity", column, OWN, task) for column in own_columns(entity, task)]
    for column in parent_columns(database, entity, task, None):
        alias = "entity" if column.column is None else f"parent_{column.key}"
        columns.append(_as_feature(alias, column, PARENT, task))
    return [column for column in columns if column]


def _calendar(task: TaskSpec, *, is_stale: bool) -> list[str]:
    """When is asked, and if that ever differs, how old the newest knowledge is."""
    if is_static(task):
        return []
    made = {name: f"{function}(samples.cutoff)" for name, function in _CALENDAR.items()}
    if is_stale:
        since = "epoch(samples.cutoff) - epoch(samples.as_of)"
        made["days_stale"] = f"({since}) / {DAY_SECONDS}"
    return [f"{value} as {quoted(CUTOFF + name)}" for name, value in made.items()]


def _as_feature(alias: str, column: PathColumn, prefix: str, task: TaskSpec) -> str:
    if column.semantic is SemanticType.TEXT:
        return ""
    value = column_value(alias, column)
    if column.semantic is SemanticType.TIMESTAMP:
        value = days_before(value, task, of="cutoff")
    return f"{value} as {quoted(prefix + column.name)}"


def _features_of_paths(
    paths: list[AggregatePath], kept: list[Feature]
) -> list[tuple[AggregatePath, list[Feature]]]:
    """Paths that are used, with their features and the last parents that other paths start from."""
    used = {feature.path for feature in kept}
    anchors = [path.anchor for path in paths if path.anchor and path.name in used]
    found = []
    for path in paths:
        features = [feature for feature in kept if feature.path == path.name]
        for column in path.columns:
            anchor = Feature(path.name, column, "last", 0)
            if (path.name, column.name) in anchors and anchor.name not in (
                f.name for f in features
            ):
                features.append(anchor)
        if features:
            found.append((path, features))
    return found
