"""Aligned: SQL models, integer links, cutoffs, samples with labels, and what each sample sees."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.making import Doing, Made, Making
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.defs.shown import table_shown
from nexus_pipeline.defs.validated import contract_of
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.task import TaskConfig
from nexus_pipeline.sql.check import SqlCheck, load_checks, run_check
from nexus_pipeline.sql.graph import run_order
from nexus_pipeline.sql.lineage import column_lineage
from nexus_pipeline.sql.model import SqlModel, load_models
from nexus_pipeline.steps.plan import labels_wanted_by, wanted_by
from nexus_pipeline.steps.stored import Stored, stored_table
from nexus_pipeline.storage import Store

CODE = (
    "nexus_model/align",
    "nexus_model/schema",
    "nexus_pipeline/steps/align.py",
    "nexus_pipeline/steps/plan.py",
    "nexus_pipeline/sql",
)
SPLITS = ("train", "validation", "test")


class SqlProject(NamedTuple):
    """A project's SQL models in the order they run, and its checks."""

    models: Mapping[str, SqlModel]
    checks: Mapping[str, SqlCheck]

    @property
    def texts(self) -> dict[str, str]:
        """SQL by model name, in running order."""
        return {name: model.sql for name, model in self.models.items()}


def load_sql(project: ProjectConfig) -> SqlProject:
    """Parse every SQL file of a project; unknown tables and cycles are refused here."""
    tables = [dataset.table for dataset in project.datasets]
    known = [f"validated.{table}" for table in tables] + [f"aligned.{table}" for table in tables]
    known += [f"aligned.cutoffs_{task.name}" for task in project.tasks]
    models = load_models(project.sql_folder / "aligned", known_tables=known)
    known += [f"aligned.{name}" for name in models]
    known += [f"aligned.samples_{task}" for task in project.task_names]
    checks = load_checks(project.sql_folder / "checks", known_tables=known)
    return SqlProject({name: models[name] for name in run_order(models)}, checks)


def aligned_makings(project: ProjectConfig, sql: SqlProject) -> list[Making]:
    """The aligned tables, database, cutoffs, samples and indexes of a project."""
    datasets = [dataset.table for dataset in project.datasets]
    makings = [_table(project, sql, table) for table in datasets]
    makings += [_model(project, sql.models[name]) for name in sql.models if name not in datasets]
    makings.append(_database(project))
    makings += [_cutoffs(project, task) for task in project.tasks]
    makings += [_samples(project, task) for task in project.task_names]
    makings += [_index(project, sql, task) for task in project.task_names]
    return makings


def _key(project: ProjectConfig, name: str) -> str:
    return f"{project.project_name}/aligned/{name}"


def _read_keys(project: ProjectConfig, model: SqlModel) -> tuple[str, ...]:
    return tuple(f"{project.project_name}/{name.replace('.', '/')}" for name in model.depends_on)


def _lineage(project: ProjectConfig, model: SqlModel, store: Store) -> dict[str, Any]:
    tables = {name: tuple(store.columns(name)) for name in model.depends_on}
    found = column_lineage(model, tables)
    return {
        column: [
            [f"{project.project_name}/{table.replace('.', '/')}", name] for table, name in sources
        ]
        for column, sources in found.items()
    }


def _table(project: ProjectConfig, sql: SqlProject, table: str) -> Making:
    model, name = sql.models.get(table), project.project_name

    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.align import align_table

        stored = align_table(project, table, model.sql if model else None, room.store)
        shown = table_shown(room.store, f"aligned.{table}")
        if model:
            shown |= {"lineage": _lineage(project, model, room.store), "sql": _fenced(model.sql)}
        return Made(stored, shown)

    return Making(
        key=_key(project, table),
        description=f"{table} as the model sees it: "
        + ("its SQL model, " if model else "the validated rows, ")
        + "rows numbered by key and dated.",
        kinds=frozenset({"duckdb", "sql"}),
        upstream=_read_keys(project, model) if model else (f"{name}/validated/{table}",),
        code=CODE,
        config={
            "sql": model.sql if model else "",
            "time_column": project[table].time_column,
            "primary_key": project[table].primary_key,
        },
        make=make,
    )


def _fenced(sql: str) -> str:
    return f"```sql\n{sql}\n```"


def _model(project: ProjectConfig, model: SqlModel) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.sql.run import run_model

        run_model(room.store, model)
        shown = table_shown(room.store, model.table)
        shown |= {"lineage": _lineage(project, model, room.store), "sql": _fenced(model.sql)}
        return Made(stored_table(room.store, model.table), shown)

    return Making(
        key=_key(project, model.name),
        tasks=frozenset(
            wanted
            for task in project.tasks
            if task.sql == model.name
            for name in task.names
            for wanted in labels_wanted_by(project, name)
        ),
        description=f"The SQL model {model.path.name}.",
        kinds=frozenset({"duckdb", "sql"}),
        upstream=_read_keys(project, model),
        code=CODE,
        config={"sql": model.sql},
        make=make,
    )


def _database(project: ProjectConfig) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.align import database_file, link_coverage, relate_tables
        from nexus_pipeline.steps.records import fingerprint
        from nexus_pipeline.steps.stored import relative

        database = relate_tables(project, room.store)
        # The tables' own content too: whatever is made from the database reads their values.
        content = {
            name: room.store.content_hash(f"aligned.{name}")
            for table in database.names
            for name in (table, f"links_{table}")
        }
        stored = Stored(
            location=relative(database_file(project), project.root),
            sha256=fingerprint(database.model_dump_json(), {}, content),
            rows=sum(room.store.rows(f"aligned.{table}") for table in database.names),
            facts=dict(link_coverage(project, room.store)),
        )
        meanings = {
            table.name: {column.name: column.semantic.value for column in table.columns}
            for table in database.tables
        }
        return Made(stored, {"rows": stored.rows, "meanings": meanings})

    return Making(
        key=_key(project, "database"),
        description="All tables linked by row numbers, and what every column means.",
        kinds=frozenset({"duckdb"}),
        upstream=tuple(_key(project, dataset.table) for dataset in project.datasets),
        code=CODE,
        config={
            "tables": {d.table: d.model_dump(mode="json") for d in project.datasets},
            "labels": {d.table: project.label_columns(d.table) for d in project.datasets},
        },
        make=make,
    )


def _cutoffs(project: ProjectConfig, task: TaskConfig) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.align import lay_cutoffs

        stored = lay_cutoffs(project, task.name, room.store)
        return Made(stored, table_shown(room.store, stored.location))

    from nexus_pipeline.steps.plan import grid

    return Making(
        key=_key(project, f"cutoffs_{task.name}"),
        tasks=frozenset().union(*(labels_wanted_by(project, name) for name in task.names)),
        description="The moments the task is asked at, and when each label window closes.",
        kinds=frozenset({"duckdb"}),
        upstream=(_key(project, "database"),),
        code=CODE,
        config=grid(project, task.name).model_dump(mode="json"),
        make=make,
    )


def _samples(project: ProjectConfig, task: str) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.align import lay_samples, read_task

        stored = lay_samples(project, read_task(project, task, room.store), room.store)
        return Made(stored, table_shown(room.store, stored.location))

    from nexus_pipeline.steps.plan import knowledge, task_config

    temporal = bool(project.tasks)
    labels = [task_config(project, task).sql] if temporal else []
    return Making(
        key=_key(project, f"samples_{task}"),
        tasks=labels_wanted_by(project, task),
        description="Who is asked about, when, with which answer, and for which split.",
        kinds=frozenset({"duckdb"}),
        upstream=(_key(project, "database"), *(_key(project, name) for name in labels)),
        code=CODE,
        config={
            "split": project.split.model_dump(mode="json"),
            "knowledge": knowledge(project, task).model_dump(mode="json") if temporal else None,
            "label_history": project.alignment.label_history,
            "target": project.target.model_dump(mode="json") if project.target else None,
        },
        make=make,
    )


def _index(project: ProjectConfig, sql: SqlProject, task: str) -> Making:
    def make(room: Workshop, doing: Doing) -> Made:  # noqa: ARG001 - all makings are called alike
        from nexus_pipeline.steps.align import index_task, read_task

        contracts = [contract_of(project, dataset.table) for dataset in project.datasets]
        found = read_task(project, task, room.store)
        stored = index_task(project, found, contracts, sql.texts, room.store)
        return Made(stored, {"rows": stored.rows})

    from nexus_pipeline.steps.plan import task_config

    # The recipe says them, though neither samples nor row numbers follow from them.
    told = project.target or task_config(project, task)
    outputs = told.model_dump(mode="json", include={"kind", "classes", "quantiles"})
    return Making(
        key=_key(project, f"index_{task}"),
        tasks=wanted_by(project, task),
        description="Which rows of which tables each sample sees at its cutoff: row numbers only.",
        kinds=frozenset({"duckdb", "numpy"}),
        upstream=(_key(project, f"samples_{task}"), _key(project, "database")),
        code=CODE,
        config={
            "alignment": project.alignment.model_dump(mode="json"),
            "max_rows": {dataset.table: dataset.max_rows for dataset in project.datasets},
            "sql": sql.texts,
            "outputs": outputs,
        },
        make=make,
    )


def aligned_checks(project: ProjectConfig, sql: SqlProject) -> list[dg.AssetChecksDefinition]:
    """The project's SQL checks, and for every task three facts."""
    checks = [
        build_check(project, _key(project, "database"), _sql_fact(check))
        for check in sql.checks.values()
    ]
    for task in project.task_names:
        checks += [
            build_check(project, _key(project, f"samples_{task}"), _expectations(task)),
            build_check(project, _key(project, f"samples_{task}"), _whole_windows(task)),
            build_check(project, _key(project, f"index_{task}"), _no_future(task)),
        ]
    return checks


def _sql_fact(check: SqlCheck) -> Any:
    def fact(room: Workshop) -> Outcome:
        result = run_check(room.store, check)
        figures = {"failures": result.failures, "examples": list(result.examples)}
        return Outcome(result.passed, figures)

    fact.__name__ = check.name
    return fact


def _expectations(task: str) -> Any:
    def training_table_meets_its_expectations(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.align import read_task
        from nexus_pipeline.steps.stored import relative
        from nexus_pipeline.steps.suite import check_training_table

        project, found = room.project, read_task(room.project, task, room.store)
        report = check_training_table(
            room.store,
            task,
            project.stage_folder("validated", "expectations", task),
            kind=found.kind,
            entity_key=project[found.entity_table].primary_key,
            temporal=found.horizon_days is not None,
            classes=len(found.classes),
        )
        failed = [result.expectation for result in report.results if not result.success]
        docs = relative(report.docs, project.root)
        figures = {"expectations": len(report.results), "failed": failed, "data_docs": docs}
        return Outcome(report.success, figures)

    return training_table_meets_its_expectations


def _whole_windows(task: str) -> Any:
    def no_label_window_straddles_a_split(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.align import straddling_windows

        count = straddling_windows(room.project, task, room.store)
        return Outcome(count == 0, {"straddling": count})

    return no_label_window_straddles_a_split


def _no_future(task: str) -> Any:
    def no_row_is_later_than_the_cutoff(room: Workshop) -> Outcome:
        from nexus_pipeline.steps.align import rows_after_cutoff

        found = rows_after_cutoff(room.project, task, room.store)
        return Outcome(sum(found.values()) == 0, {"rows_after_cutoff": found})

    return no_row_is_later_than_the_cutoff
