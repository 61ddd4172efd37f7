"""Aligned: SQL models numbered and linked, samples with labels, and the index of what each sees."""

import datetime as dt
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np

from nexus_model.align.assemble import first_time
from nexus_model.align.index import PathIndex, SampleTimes, read_samples, times_of
from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import link_rows, number_rows, quoted, shown_as_they_are
from nexus_model.align.samples import (
    cutoffs_select,
    history_select,
    history_table,
    samples_select,
    static_samples_select,
)
from nexus_model.align.spark import index_paths_on_spark, write_links
from nexus_model.schema import DatabaseSpec, DataError, TableSpec, TaskKind, TaskSpec
from nexus_model.tokenize.prepare import index_paths, open_index, write_index
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps import plan
from nexus_pipeline.steps.contracts import Contract
from nexus_pipeline.steps.csv_text import file_digest
from nexus_pipeline.steps.spark_session import spark_session
from nexus_pipeline.steps.stored import Stored, aligned_view, relative, stored_table
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.shared import drop_relation, rows_behind, show_rows, sweep_rows
from nexus_pipeline.storage.tables import ascends, table_columns


def align_table(project: ProjectConfig, table: str, sql: str | None, store: Store) -> Stored:
    """``aligned.<table>``: its SQL model, or the validated table as it is; rows numbered.

    Validated rows that stand in the order of their key, numbered as they are in the file, are
    shown and not stored again.
    """
    source = sql or f"select * from validated.{quoted(table)}"
    keyed = plan.keyed_table(project, table)
    with store.write() as con:
        if sql is None and (stored := _rows_in_order(con, keyed)) is not None:
            show_rows(con, f"aligned.{table}", stored, shown_as_they_are(con, source, keyed))
        else:
            if rows_behind(con, f"aligned.{table}"):
                drop_relation(con, f"aligned.{table}")
            number_rows(con, source.strip().rstrip(";"), keyed)
            sweep_rows(con)
    return stored_table(store, f"aligned.{table}")


def _rows_in_order(con: duckdb.DuckDBPyConnection, table: TableSpec) -> str | None:
    """The stored rows a validated table shows, if they are in the order of its key.

    Stored rows are numbered from 0. A time that must be read from a text is read once.
    """
    name = f"validated.{table.name}"
    kinds = table_columns(con, name)
    stored = rows_behind(con, name)
    is_dated = kinds.get(table.time_column or "", "TIMESTAMP") in {"DATE", "TIMESTAMP"}
    if stored is None or not is_dated or not table.primary_key:
        return None
    if not set(table.primary_key) <= set(kinds):
        return None
    return stored if ascends(con, f"validated.{quoted(table.name)}", table.primary_key) else None


def relate_tables(project: ProjectConfig, store: Store) -> DatabaseSpec:
    """Link every table to its parents and say what each column means.

    Written to ``data/aligned/<project>/database.json``.
    """
    names = [dataset.table for dataset in project.datasets]
    with store.write() as con:
        for name in names:
            link_rows(con, plan.keyed_table(project, name))
        tables = tuple(plan.described_table(con, project, name) for name in names)
    database = DatabaseSpec(tables=tables)
    path = database_file(project)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(database.model_dump_json(indent=1), encoding="utf-8")
    return database


def database_file(project: ProjectConfig) -> Path:
    """Where the schema of the aligned tables is kept."""
    return project.stage_folder("aligned") / "database.json"


def read_database(project: ProjectConfig) -> DatabaseSpec:
    """The schema ``relate_tables`` wrote."""
    return DatabaseSpec.model_validate_json(database_file(project).read_text(encoding="utf-8"))


def link_coverage(project: ProjectConfig, store: Store) -> dict[str, float]:
    """Share of rows whose foreign key found its parent, by ``table.key``."""
    shares = {}
    with store.read() as con:
        for dataset in project.datasets:
            for index, key in enumerate(project.foreign_keys(dataset.table)):
                links = f"aligned.{quoted('links_' + dataset.table)}"
                share = con.sql(f"select count(_fk_{index}) / count(*) from {links}").fetchall()
                shares[f"{dataset.table}.{key.label}"] = float(share[0][0])
    return shares


def lay_cutoffs(project: ProjectConfig, task: str, store: Store) -> Stored:
    """``aligned.cutoffs_<task>``: question times whose window the data has seen close."""
    recipe = Recipe(
        raw=(),
        database=read_database(project),
        task=plan.temporal_task(project, task),
        plans=(),
    )
    table = plan.cutoffs_name(project, task)
    with store.write() as con:
        first, last = first_time(con, recipe), last_time(con, recipe)
        if first is None or last is None:
            raise DataError("no table has a time, so nothing can be asked at one", table=task)
        select = cutoffs_select(plan.grid(project, task), first, last)
        con.execute(f"create or replace table aligned.{quoted(table)} as {select}")
    return stored_table(store, f"aligned.{table}")


def last_time(con: duckdb.DuckDBPyConnection, recipe: Recipe) -> dt.datetime | None:
    """Until when the data reaches: the latest time of the tables the entity's rows are in.

    A calendar may run on into the future; a window counts as closed only when every child table of
    the entity has been seen past it, so the earliest of their latest times decides. An entity
    without such children, as an event asked about once, is in every table.
    """
    timed = [table for table in recipe.database.tables if table.time_column]
    children = [
        table.name
        for table in timed
        if any(key.references_table == recipe.task.entity_table for key in table.foreign_keys)
    ]
    latest = [
        con.sql(f"select max(_time) from aligned.{quoted(name)}").fetchall()[0][0]
        for name in children or [table.name for table in timed]
    ]
    return min((moment for moment in latest if moment is not None), default=None)


def lay_samples(project: ProjectConfig, task: TaskSpec, store: Store) -> Stored:
    """``aligned.samples_<task>``, and its closed windows as ``aligned.label_history_<task>``."""
    entity = read_database(project)[task.entity_table]
    table = f"aligned.samples_{task.name}"
    with store.write() as con:
        _assert_no_entity_is_made(con, entity)
        if task.horizon_days is None:
            select = static_samples_select(task, entity, plan.entity_split(project))
        else:
            labels = f"select * from aligned.{quoted(plan.task_config(project, task.name).sql)}"
            known = _label_columns(con, labels, project, task)
            closes = "labels.window_end" if "window_end" in known else None
            select = samples_select(
                task,
                entity,
                labels,
                plan.time_split(project, task.name),
                plan.knowledge(project, task.name),
                closes,
            )
            if project.alignment.label_history:
                history = history_table(task, entity)
                cutoffs = plan.cutoffs_name(project, task.name)
                number_rows(con, history_select(task, entity, labels, cutoffs), history)
                link_rows(con, history)
        con.execute(f"create or replace table {table} as {select}")
        counts = con.sql(f"select split, count(*) from {table} group by split").fetchall()
    found = {f"samples_{split}": int(count) for split, count in counts}
    for split in ("train", "validation", "test"):
        if not found.get(f"samples_{split}"):
            raise DataError(f"task {task.name} has no {split} samples", table=table, rows=0)
    _assert_both_classes(task, table, store)
    return stored_table(store, table, dict(found))


def _assert_no_entity_is_made(con: duckdb.DuckDBPyConnection, entity: TableSpec) -> None:
    """Refuse entities that only an SQL model gives: predictions are for rows of the raw table.

    Raises:
        DataError: some aligned entities are in no validated row.
    """
    name, keys = quoted(entity.name), entity.primary_key
    there = {row[0] for row in con.sql(f"describe validated.{name}").fetchall()}
    if not set(keys) <= there:
        return
    types = {row[0]: row[1] for row in con.sql(f"describe aligned.{name}").fetchall()}
    same = " and ".join(
        f"made.{quoted(key)} = try_cast(source.{quoted(key)} as {types[key]})" for key in keys
    )
    named = ", ".join(f"made.{quoted(key)}" for key in keys)
    rows, example = con.sql(
        f"select count(*), min(row({named})) from aligned.{name} as made "
        f"where not exists (from validated.{name} as source where {same})"
    ).fetchall()[0]
    if rows:
        raise DataError(
            f"its SQL model gives {rows} entities the file does not have, such as {example}; "
            "predictions are for rows of the file, so entities must be in it",
            table=entity.name,
            column="+".join(keys),
            rows=rows,
        )


def _assert_both_classes(task: TaskSpec, table: str, store: Store) -> None:
    """Refuse a binary task one of whose splits has one class: nothing can be learned or judged.

    Raises:
        DataError: of training or validation samples all have one label.
    """
    if task.kind is not TaskKind.BINARY:
        return
    with store.read() as con:
        counts = con.sql(
            f"select split, count(*), count(distinct label) from {table} "
            "where split in ('train', 'validation') group by split order by split"
        ).fetchall()
    for split, rows, labels in counts:
        if labels < 2:
            raise DataError(
                f"all {split} samples have one label: the other is too rare for this split; give "
                "another split (seed, sizes or dates), or more rows",
                table=task.entity_table,
                column=task.target_column,
                rows=rows,
            )


def _label_columns(
    con: duckdb.DuckDBPyConnection, labels: str, project: ProjectConfig, task: TaskSpec
) -> set[str]:
    known = {row[0] for row in con.sql(f"describe {labels}").fetchall()}
    for column in (*project[task.entity_table].primary_key, "cutoff", "label"):
        if column not in known:
            raise DataError(
                f"the label model must give column {column!r}; it gives {sorted(known)}",
                table=plan.task_config(project, task.name).sql,
                column=column,
            )
    return known


def read_task(project: ProjectConfig, task: str, store: Store) -> TaskSpec:
    """A task as plain data; a static one is read off its labels."""
    if project.target is None:
        return plan.temporal_task(project, task)
    with store.read() as con:
        return plan.static_task(con, project)


def index_task(
    project: ProjectConfig,
    task: TaskSpec,
    contracts: Sequence[Contract],
    models: Mapping[str, str],
    store: Store,
) -> Stored:
    """The recipe and the point-in-time index of a task, under ``data/aligned/<project>/<task>``."""
    recipe = plan.plan_recipe(project, read_database(project), task, contracts, models)
    folder = project.stage_folder("aligned", task.name)
    with aligned_view(store, recipe.database) as con:
        times = read_samples(con, f"aligned.{quoted('samples_' + task.name)}")
        if project.engines.alignment == "spark":
            indexes = _index_on_spark(project, recipe, times, con)
        else:
            indexes = index_paths(con, recipe, times)
    write_index(folder, times, indexes)
    (folder / "recipe.json").write_text(recipe.model_dump_json(indent=1), encoding="utf-8")
    facts = {
        f"rows_per_sample/{path.name}": len(index.rows_N) / max(1, len(times.entity_B))
        for path, index in zip(recipe.paths, indexes, strict=True)
    }
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=len(times.entity_B),
        facts=dict(facts),
    )


def _index_on_spark(
    project: ProjectConfig, recipe: Recipe, times: SampleTimes, con: duckdb.DuckDBPyConnection
) -> tuple[PathIndex, ...]:
    """The same index, by way of a folder beside the others that executors see too."""
    folder = project.stage_folder("aligned", f".spark_{recipe.task.name}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_links(con, recipe.database, folder)
        with spark_session(project.engines.spark_master, folder) as spark:
            return index_paths_on_spark(spark, folder, recipe.database, recipe.plans, times)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_recipe(project: ProjectConfig, task: str) -> Recipe:
    """The recipe ``index_task`` wrote."""
    path = project.stage_folder("aligned", task) / "recipe.json"
    return Recipe.model_validate_json(path.read_text(encoding="utf-8"))


def folder_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of all files below a folder."""
    seen = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            seen.update(path.relative_to(folder).as_posix().encode())
            seen.update(bytes.fromhex(file_digest(path)))
    return seen.hexdigest()


def straddling_windows(project: ProjectConfig, task: str, store: Store) -> int:
    """Samples whose label window ends in a later split than their cutoff lies in."""
    if project.target is not None:
        return 0
    split = plan.time_split(project, task)
    bounds = [f"timestamp '{moment}'" for moment in (split.validation_from, split.test_from)]
    crossing = " or ".join(f"(cutoff < {bound} and window_end > {bound})" for bound in bounds)
    with store.read() as con:
        table = f"aligned.{quoted('samples_' + task)}"
        return int(con.sql(f"select count(*) from {table} where {crossing}").fetchall()[0][0])


def rows_after_cutoff(project: ProjectConfig, task: str, store: Store) -> dict[str, int]:
    """By path, how many index entries point at a row that is later than its sample knows."""
    recipe = read_recipe(project, task)
    folder = project.stage_folder("aligned", task)
    times, indexes = open_index(folder, len(recipe.plans))
    found = {}
    with aligned_view(store, recipe.database) as con:
        for path, index in zip(recipe.paths, indexes, strict=True):
            if recipe.database[path.table].time_column is not None:
                time_N = times_of(con, path.table)[index.rows_N]
                late_N = time_N > np.repeat(times.as_of_B, np.diff(index.offsets_B))
                found[path.name] = int(late_N.sum())
    return found
