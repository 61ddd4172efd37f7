"""From the project file and the contracts to the library's plain data: schema, task, recipe."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence

import duckdb

from nexus_model.align.paths import RelationPath, find_paths, unreached_tables
from nexus_model.align.recipe import PathPlan, RawColumn, RawTable, Recipe, SqlText
from nexus_model.align.samples import (
    EntitySplit,
    Grid,
    Knowledge,
    TimeSplit,
    history_name,
    history_table,
)
from nexus_model.schema import (
    ColumnSpec,
    ConfigurationError,
    DatabaseSpec,
    DataError,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.task import TaskConfig, asked_quantiles
from nexus_pipeline.steps.column_types import ColumnRole, infer_columns, semantic_overrides
from nexus_pipeline.steps.contracts import Contract
from nexus_pipeline.storage.tables import table_columns

LARGEST_CLASS_COUNT = 20


def task_config(project: ProjectConfig, task: str) -> TaskConfig:
    """What the project says of the temporal task of this name."""
    return next(found for found in project.tasks if task in {found.name, *found.names})


def origin_of(project: ProjectConfig, task: str) -> str | None:
    """The task of the same regime whose trained weights this one's training starts from."""
    if not project.tasks:
        return None
    config = task_config(project, task)
    regime = config.names[task]
    if regime not in config.start_from:
        return None
    names = task_config(project, config.start_from[regime]).names
    return next(name for name, other in names.items() if other is regime)


def wanted_by(project: ProjectConfig, task: str) -> frozenset[str]:
    """The task, and those whose training starts from its."""
    starting = (name for name in project.task_names if origin_of(project, name) == task)
    return frozenset({task, *starting})


def labels_wanted_by(project: ProjectConfig, task: str) -> frozenset[str]:
    """Tasks whose models need the samples of this one: its own, and those that also predict it."""
    learning = (name for name in project.task_names if task in also_asked(project, name))
    return wanted_by(project, task).union(*(wanted_by(project, name) for name in learning))


def also_asked(project: ProjectConfig, task: str) -> tuple[str, ...]:
    """The tasks, or columns of a static target, whose labels the model of this one learns too.

    Regimes of a task have the same labels: the first one stands for all.
    """
    if project.target is not None:
        return project.target.also_predict
    others = (task_config(project, name) for name in task_config(project, task).also_predict)
    return tuple(next(iter(other.names)) for other in others)


def also_weight(project: ProjectConfig, task: str) -> float:
    """How much the loss of each further label counts."""
    return (project.target or task_config(project, task)).also_weight


def cutoffs_name(project: ProjectConfig, task: str) -> str:
    """The table of a temporal task's cutoffs; regimes of one task share it."""
    return f"cutoffs_{task_config(project, task).name}"


def keyed_table(project: ProjectConfig, table: str) -> TableSpec:
    """Keys and time of a table, its feature columns still unknown."""
    dataset = project[table]
    return TableSpec(
        name=table,
        primary_key=dataset.primary_key,
        foreign_keys=project.foreign_keys(table),
        time_column=dataset.time_column,
    )


def described_table(
    con: duckdb.DuckDBPyConnection, project: ProjectConfig, table: str
) -> TableSpec:
    """A table with its feature columns, their meaning inferred from ``aligned.<table>``."""
    spec, dataset = keyed_table(project, table), project[table]
    known = [name for name in table_columns(con, f"aligned.{table}") if name != "_time"]
    found = infer_columns(
        con,
        f"aligned.{table}",
        keys=spec.key_columns,
        time_column=spec.time_column,
        labels=project.label_columns(table),
        overrides={"_time": None, **semantic_overrides(dataset, (*known, *_raw_only(dataset)))},
    )
    columns = tuple(
        ColumnSpec(name=column.name, semantic=column.semantic)
        for column in found
        if column.role is ColumnRole.FEATURE and column.semantic is not None
    )
    return spec.model_copy(update={"columns": columns})


def _raw_only(dataset: object) -> tuple[str, ...]:
    """Columns named for the raw file; the SQL model may have left them behind."""
    lists = ("categorical", "numerical", "text", "timestamp", "ignore")
    return tuple(name for kind in lists for name in getattr(dataset, f"{kind}_columns"))


def static_task(con: duckdb.DuckDBPyConnection, project: ProjectConfig) -> TaskSpec:
    """The task of a static project; kind and classes are read from the labels.

    Raises:
        DataError: there are no labels, they are all the same, or not the numbers they should be.
    """
    target = project.target
    if target is None:
        raise ConfigurationError("the project file has no target")
    task = column_task(
        con, target.target_table, target.target_column, target.kind, target.quantiles
    )
    return task.model_copy(update={"name": project.task_names[0]})


def column_task(
    con: duckdb.DuckDBPyConnection,
    table: str,
    column: str,
    said: TaskKind | None = None,
    quantiles: tuple[float, ...] = (),
) -> TaskSpec:
    """The task of telling a column of ``aligned.<table>``, named after it.

    Raises:
        DataError: there are no labels, they are all the same, or not the numbers they should be.
    """
    text = f"cast({_quoted(column)} as varchar)"
    found = con.sql(
        f"select distinct {text} as value, try_cast({text} as double) as number "
        f"from aligned.{_quoted(table)} where {_quoted(column)} is not null order by number, value"
    ).fetchall()
    if len(found) < 2:
        raise DataError(f"has {len(found)} different labels", table=table, column=column)
    numeric = all(number is not None for _, number in found)
    kind = said or _kind_of(len(found), numeric=numeric)
    if kind is TaskKind.BINARY and len(found) != 2:
        raise DataError(
            f"is declared binary but has {len(found)} different labels",
            table=table,
            column=column,
            example=found[2][0],
        )
    if kind.is_number and not numeric:
        (bad,) = con.sql(
            f"select count(*), min({text}) from aligned.{_quoted(table)} "
            f"where {_quoted(column)} is not null and try_cast({text} as double) is null"
        ).fetchall()
        raise DataError(
            f"is declared {kind} but has labels that are no numbers",
            table=table,
            column=column,
            rows=bad[0],
            example=bad[1],
        )
    return TaskSpec(
        name=column,
        kind=kind,
        entity_table=table,
        target_column=column,
        classes=() if kind.is_number else tuple(value for value, _ in found),
        quantiles=asked_quantiles(kind, quantiles),
    )


def _kind_of(values: int, *, numeric: bool) -> TaskKind:
    if values == 2:
        return TaskKind.BINARY
    many = values > LARGEST_CLASS_COUNT
    return TaskKind.REGRESSION if numeric and many else TaskKind.MULTICLASS


def temporal_task(project: ProjectConfig, task: str) -> TaskSpec:
    """The task of this name as plain data."""
    config = task_config(project, task)
    return TaskSpec(
        name=task,
        kind=config.kind,
        entity_table=config.entity_table,
        horizon_days=config.horizon_days,
        classes=config.classes,
        quantiles=asked_quantiles(config.kind, config.quantiles),
    )


def grid(project: ProjectConfig, task: str) -> Grid:
    """Cutoffs of a temporal task."""
    config = task_config(project, task)
    return Grid(
        validation_from=_midnight(project.split.validation_from),
        test_from=_midnight(project.split.test_from),
        step_days=config.step_days or config.horizon_days,
        training_step_days=config.training_step_days,
        horizon_days=config.horizon_days,
    )


def time_split(project: ProjectConfig, task: str) -> TimeSplit:
    """Validation and test dates of a temporal task."""
    most = project.split.most_cutoffs
    return TimeSplit(
        validation_from=_midnight(project.split.validation_from),
        test_from=_midnight(project.split.test_from),
        evaluated_days=None if most is None else most * grid(project, task).step_days,
        most_training=project.split.most_training_samples,
    )


def knowledge(project: ProjectConfig, task: str) -> Knowledge:
    """How old a temporal task's data is: as old in training as it can be in validation."""
    config, split = task_config(project, task), time_split(project, task)
    return Knowledge(
        regime=config.names[task],
        stale_copies=config.stale_copies,
        stale_days=(split.until[0] - split.validation_from).days,
    )


def entity_split(project: ProjectConfig) -> EntitySplit:
    """Validation and test shares."""
    return EntitySplit(
        validation_size=project.split.validation_size,
        test_size=project.split.test_size,
        seed=project.split.seed,
    )


def _midnight(day: dt.date | None) -> dt.datetime:
    if day is None:
        raise ConfigurationError("split.validation_from and split.test_from are needed")
    return dt.datetime.combine(day, dt.time())


def task_database(project: ProjectConfig, database: DatabaseSpec, task: TaskSpec) -> DatabaseSpec:
    """The database a task sees: with its closed label windows, where it has and wants them."""
    if task.horizon_days is None or not project.alignment.label_history:
        return database
    history = history_table(task, database[task.entity_table])
    return DatabaseSpec(tables=(*database.tables, history))


def plan_recipe(
    project: ProjectConfig,
    database: DatabaseSpec,
    task: TaskSpec,
    contracts: Sequence[Contract],
    models: Mapping[str, str],
) -> Recipe:
    """Everything alignment needs for one task.

    ``models`` are the project's SQL models in the order they run.

    Raises:
        ConfigurationError: a table cannot be reached from the entity.
    """
    complete = task_database(project, database, task)
    paths = find_paths(
        complete, task.entity_table, project.alignment.max_depth, project.alignment.paths
    )
    lost = unreached_tables(complete, paths)
    if lost:
        raise ConfigurationError(
            f"task {task.name}: no path from {task.entity_table!r} reaches {list(lost)}; give a "
            "foreign key, a larger alignment.max_depth or an entry in alignment.paths"
        )
    temporal = task.horizon_days is not None
    labels = task_config(project, task.name).sql if temporal else None
    return Recipe(
        raw=tuple(
            _raw_table(contract, project.label_columns(contract.table)) for contract in contracts
        ),
        models=tuple(_ordered_models(project, models, labels)),
        database=complete,
        task=task,
        plans=tuple(PathPlan(path=path, max_rows=_max_rows(project, path)) for path in paths),
        labels=labels,
        grid=grid(project, task.name) if temporal else None,
        cutoffs=cutoffs_name(project, task.name) if temporal else None,
        history=history_name(task) if len(complete.tables) > len(database.tables) else None,
    )


def _ordered_models(
    project: ProjectConfig, models: Mapping[str, str], labels: str | None
) -> Iterator[SqlText]:
    """The models of tables, then the one that gives the labels; other tasks' labels stay out."""
    of_tasks = {task.sql for task in project.tasks}
    for name, sql in models.items():
        if name not in of_tasks:
            yield SqlText(name=name, sql=sql)
    if labels is not None:
        yield SqlText(name=labels, sql=models[labels])


def _raw_table(contract: Contract, labels: Collection[str]) -> RawTable:
    return RawTable(
        name=contract.table,
        columns=tuple(
            RawColumn(name=column.name, type=column.type, filled=column.filled)
            for column in contract.columns
            if column.name not in labels
        ),
    )


def _max_rows(project: ProjectConfig, path: RelationPath) -> int:
    own = {dataset.table: dataset.max_rows for dataset in project.datasets}
    return own.get(path.table) or project.alignment.max_rows


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
