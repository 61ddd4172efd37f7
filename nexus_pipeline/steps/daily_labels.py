"""Aligned: the answers to the questions of one day, by the task's own label model."""

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from nexus_model.align.recipe import Recipe
from nexus_model.align.relate import quoted
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.task import TaskConfig
from nexus_pipeline.sql.model import SqlModel
from nexus_pipeline.sql.run import ordered
from nexus_pipeline.steps.align import folder_hash, last_time, read_database
from nexus_pipeline.steps.plan import temporal_task
from nexus_pipeline.steps.stored import Stored, aligned_view, relative
from nexus_pipeline.storage import Store

LABELS = "labels.parquet"


def label_folder(project: ProjectConfig, task: str, day: str) -> Path:
    """Where a day's labels are."""
    return project.stage_folder("aligned", f"labels_{task}", day)


def label_day(
    project: ProjectConfig, task: TaskConfig, models: Mapping[str, SqlModel], store: Store, day: str
) -> Stored:
    """Who was asked about at the start of a day, and what happened until the window closed.

    ``models`` are the project's SQL models, in the order they run: those that read the task's
    cutoffs, however indirectly, are asked about this one moment. A window the data does not reach
    the end of has no labels yet; its partition says so and is made anew when it has closed.
    """
    cutoff = dt.datetime.fromisoformat(day)
    closes = cutoff + dt.timedelta(days=task.horizon_days)
    folder = label_folder(project, task.name, day)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LABELS).unlink(missing_ok=True)
    until, rows = data_reaches(project, task, store), 0
    if until is not None and closes <= until:
        with aligned_view(store, read_database(project)) as con:
            rows = _write_labels(con, task, models, (cutoff, closes), folder / LABELS)
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=rows,
        facts={"closed": (folder / LABELS).is_file(), "window_end": closes.isoformat()},
    )


def data_reaches(project: ProjectConfig, task: TaskConfig, store: Store) -> dt.datetime | None:
    """Until when the tables the entity's rows are in have been seen."""
    spec = temporal_task(project, next(iter(task.names)))
    recipe = Recipe(raw=(), database=read_database(project), task=spec, plans=())
    with store.read() as con:
        return last_time(con, recipe)


def _write_labels(
    con: duckdb.DuckDBPyConnection,
    task: TaskConfig,
    models: Mapping[str, SqlModel],
    window: tuple[dt.datetime, dt.datetime],
    path: Path,
) -> int:
    """Write the label model's rows for one window and return how many there are."""
    import pyarrow.parquet as pq

    con.execute("create schema validated")
    shown = (
        "select table_name from information_schema.tables "
        "where table_catalog = 'stored' and table_schema = 'validated'"
    )
    for (name,) in con.sql(shown).fetchall():
        view = f"validated.{quoted(name)}"
        con.execute(f"create view {view} as select * from stored.{view}")
    cutoff, closes = (f"timestamp '{moment.isoformat(sep=' ')}'" for moment in window)
    con.execute(
        f"create or replace view aligned.{quoted('cutoffs_' + task.name)} as "
        f"select {cutoff} as cutoff, {closes} as window_end, true as is_regular"
    )
    for model in _asked_anew(task, models):
        con.execute(f"create or replace view aligned.{quoted(model.name)} as {model.sql}")
    model = models[task.sql]
    rows: Any = con.sql(ordered(model.sql, len(con.sql(model.sql).columns))).to_arrow_table()
    pq.write_table(rows, path)
    return int(rows.num_rows)


def _asked_anew(task: TaskConfig, models: Mapping[str, SqlModel]) -> Iterator[SqlModel]:
    """Models that read the task's cutoffs, or another that does."""
    moved = {f"aligned.cutoffs_{task.name}"}
    for model in models.values():
        if moved & set(model.depends_on):
            moved.add(model.table)
            yield model
