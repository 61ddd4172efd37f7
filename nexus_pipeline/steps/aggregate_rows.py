"""SQL of one aggregate path: its rows, what is known at each of them, what each sample sees."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec, SemanticType, TaskSpec
from nexus_pipeline.steps.aggregate_paths import (
    DAYS,
    LAST_ROWS,
    AggregatePath,
    Feature,
    PathColumn,
    is_static,
)

DAY_SECONDS = 86400.0
_TYPES = {
    SemanticType.NUMERICAL: "double",
    SemanticType.CATEGORICAL: "varchar",
    SemanticType.TIMESTAMP: "timestamp",
}


class Question(NamedTuple):
    """What is asked of which tables; ``sources`` gives each table's rows with their links."""

    database: DatabaseSpec
    task: TaskSpec
    sources: Mapping[str, str]


def column_value(alias: str, column: PathColumn) -> str:
    """The column as a finite double, a string or a timestamp; NULL for what is neither."""
    if column.column is None:
        return f"cast({alias}._fk_{column.key} as varchar)"
    cast = f"try_cast({alias}.{quoted(column.column)} as {_TYPES[column.semantic]})"
    if column.semantic is SemanticType.NUMERICAL:
        return f"case when isfinite({cast}) then {cast} end"
    return cast


def days_before(value: str, task: TaskSpec, *, of: str = "as_of") -> str:
    """Days from a moment to the sample's ``as_of`` or ``cutoff``; to 1970 if it has neither."""
    moment = "0" if is_static(task) else f"epoch(samples.{of})"
    return f"({moment} - epoch({value})) / {DAY_SECONDS}"


def known_by(question: Question, alias: str, table: str, moment: str | None) -> str:
    """The further join condition that a row of ``table`` is known at ``moment``.

    Without a moment a row cannot say that a dated parent is not later: it reads none.
    """
    if is_static(question.task) or question.database[table].time_column is None:
        return ""
    return f" and {alias}._time <= {moment}" if moment else " and false"


def path_parts(question: Question, path: AggregatePath, features: list[Feature]) -> list[str]:
    """Three common table expressions, of which ``seen.<path>`` has one row per sample."""
    return [
        f"{quoted('rows.' + path.name)} as ({_rows(question, path, features)}\n)",
        f"{quoted('known.' + path.name)} as materialized ({_known(path, features)}\n)",
        f"{quoted('seen.' + path.name)} as ({_seen(question, path, features)}\n)",
    ]


def _listed(items: list[str]) -> str:
    return ",\n        ".join(items)


def _rows(question: Question, path: AggregatePath, features: list[Feature]) -> str:
    key, tables = f"child._fk_{path.key}", {"child": path.table}
    joins = []
    if path.through:
        source = question.sources[path.through.name]
        joins.append(f"inner join {source} as through on through._row = {key}")
        key, tables["through"] = f"through._fk_{path.through_key}", path.through
    times = [f"{alias}._time" for alias, table in tables.items() if table.time_column]
    moment = f"greatest({', '.join(times)})" if times else None
    columns = list(dict.fromkeys(feature.column for feature in features if feature.column))
    joins += _parent_joins(question, path, columns, moment)
    selected = [
        f"{key} as key",
        f"{moment or 'cast(null as timestamp)'} as moment",
        "child._row as place",
        *(f"{column_value(_alias(column), column)} as {quoted(column.name)}" for column in columns),
    ]
    selected += [f"{_times(key, column, moment)}" for column in _counted(features)]
    dated = [f"{time} is not null" for time in times] if path.is_timed else []
    told = "".join(f"\n    {join}" for join in joins)
    return (
        f"\n    select\n        {_listed(selected)}"
        f"\n    from {question.sources[path.table.name]} as child{told}"
        f"\n    where {' and '.join([f'{key} is not null', *dated])}"
    )


def _alias(column: PathColumn) -> str:
    return "child" if column.key is None or column.column is None else f"parent_{column.key}"


def _parent_joins(
    question: Question, path: AggregatePath, columns: list[PathColumn], moment: str | None
) -> Iterator[str]:
    for index in sorted({c.key for c in columns if c.column and c.key is not None}):
        parent, alias = path.table.foreign_keys[index].references_table, f"parent_{index}"
        yield (
            f"left join aligned.{quoted(parent)} as {alias} on {alias}._row = child._fk_{index}"
            f"{known_by(question, alias, parent, moment)}"
        )


def _counted(features: list[Feature]) -> list[PathColumn]:
    needed = [f.column for f in features if f.statistic in ("distinct", "mode_share") and f.column]
    return list(dict.fromkeys(needed))


def _times(key: str, column: PathColumn, moment: str | None) -> str:
    """How often this value has occurred for this key, this row included."""
    value = column_value(_alias(column), column)
    order = f"{moment} nulls first, child._row" if moment else "child._row"
    return (
        f"case when {value} is not null then row_number() over "
        f"(partition by {key}, {value} order by {order}) end as {quoted(column.name + '.times')}"
    )


def _known(path: AggregatePath, features: list[Feature]) -> str:
    windows = {"n": "count(*) over known", "first_at": "first_value(moment) over known"}
    for feature in features:
        if feature.column:
            windows |= _running(feature.column.name, feature.statistic)
    frames = [
        f"last_{k} as (partition by key order by moment nulls first, place "
        f"rows between {k - 1} preceding and current row)"
        for k in LAST_ROWS
    ]
    # Rows of one moment become known together: only the last of them is looked up.
    newest = "lead(moment) over known is distinct from moment" if path.is_timed else ""
    newest = newest or "lead(place) over known is null"
    selected = ["key", "moment", *(f"{value} as {quoted(name)}" for name, value in windows.items())]
    return (
        f"\n    select\n        {_listed(selected)}\n    from {quoted('rows.' + path.name)}"
        f"\n    window known as (partition by key order by moment nulls first, place "
        f"rows between unbounded preceding and current row),\n        {_listed(frames)}"
        f"\n    qualify {newest}"
    )


def _running(name: str, statistic: str) -> dict[str, str]:
    """The running windows that a statistic of a column is made from, by name."""
    value, times = quoted(name), quoted(f"{name}.times")
    made = {
        "last": value,
        "mean": f"avg({value}) over known",
        "min": f"min({value}) over known",
        "max": f"max({value}) over known",
        "sum": f"sum({value}) over known",
        "n": f"count({value}) over known",
        "distinct": f"count(*) filter ({times} = 1) over known",
        "mode_share": f"max({times}) over known / nullif(count({value}) over known, 0)",
    }
    made |= {f"mean_{rows}": f"avg({value}) over last_{rows}" for rows in LAST_ROWS}
    made_from = {"days": ("last",), "trend": ("mean_3", "mean_10")}
    made_from |= {f"mean_{days}d": ("sum", "n") for days in DAYS}
    return {f"{name}.{part}": made[part] for part in made_from.get(statistic, (statistic,))}


def _asked_of(question: Question, path: AggregatePath) -> tuple[str, str]:
    """What to select from to know whose rows each sample asks for, and that key."""
    if path.own_key is not None:
        name = question.task.entity_table
        known = known_by(question, "entity", name, "samples.as_of")
        entity = f"{question.sources[name]} as entity on entity._row = samples.entity_row{known}"
        return f"samples\n    inner join {entity}", f"entity._fk_{path.own_key}"
    if path.anchor is None:
        return "samples", "samples.entity_row"
    anchor, column = path.anchor
    first = quoted("seen." + anchor)
    source = f"samples\n    inner join {first} as first on first.sample = samples.sample"
    return source, f"cast(first.{quoted(f'{anchor}.{column}.last')} as bigint)"


def _seen(question: Question, path: AggregatePath, features: list[Feature]) -> str:
    task, known = question.task, quoted("known." + path.name)
    source, key = _asked_of(question, path)
    # ASOF wants plain columns on its left side.
    times = [] if is_static(task) else ["as_of"]
    times += [f"before_{days}" for days in DAYS if path.is_timed]
    columns = ", ".join(f"samples.{column}" for column in ["sample", *times])
    asked = f"(select {columns}, {key} as key from {source})"
    joins = [f"left join {known} as known on samples.key = known.key"]
    if path.is_timed:
        joins = [f"asof {joins[0]} and samples.as_of >= known.moment"] + [
            f"asof left join {known} as before_{days} on samples.key = before_{days}.key "
            f"and samples.before_{days} >= before_{days}.moment"
            for days in DAYS
            if any(feature.statistic.endswith(f"_{days}d") for feature in features)
        ]
    selected = [f"{_asked(task, feature)} as {quoted(feature.name)}" for feature in features]
    told = "".join(f"\n    {join}" for join in joins)
    return (
        f"\n    select\n        {_listed(['samples.sample', *selected])}"
        f"\n    from {asked} as samples{told}"
    )


def _asked(task: TaskSpec, feature: Feature) -> str:
    """The value of a feature where a sample has found its newest row, ``known``."""
    statistic = feature.statistic
    if feature.column is None:
        asked = {
            "count": "coalesce(known.n, 0)",
            "days_since_last": days_before("known.moment", task),
            "days_since_first": days_before("known.first_at", task),
        } | {f"count_{days}d": _since("n", days) for days in DAYS}
        return asked[statistic]

    name = feature.column.name

    def known(part: str) -> str:
        return quoted(f"{name}.{part}")

    asked = {
        "days": days_before(f"known.{known('last')}", task),
        "trend": f"known.{known('mean_3')} - known.{known('mean_10')}",
    }
    for days in DAYS:
        count = f"nullif({_since(known('n'), days)}, 0)"
        asked[f"mean_{days}d"] = f"({_since(known('sum'), days)}) / {count}"
    return asked.get(statistic, f"known.{known(statistic)}")


def _since(total: str, days: int) -> str:
    return f"coalesce(known.{total}, 0) - coalesce(before_{days}.{total}, 0)"
