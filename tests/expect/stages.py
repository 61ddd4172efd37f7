"""The stages before training, by their steps alone: no Dagster, no MLflow."""

from nexus_pipeline.defs.aligned import load_sql
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.sql.run import run_model
from nexus_pipeline.steps.align import (
    align_table,
    index_task,
    lay_cutoffs,
    lay_samples,
    read_task,
    relate_tables,
)
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.steps.validate import validate_table
from nexus_pipeline.storage import Store


def store_of(project: ProjectConfig) -> Store:
    """The store a project's own resources would open."""
    path = project.data / "raw" / f"{project.project_name}.duckdb"
    path.parent.mkdir(parents=True, exist_ok=True)
    return Store(path, threads=1)


def validate(project: ProjectConfig) -> Store:
    """Raw and validated tables."""
    store, tables = store_of(project), [dataset.table for dataset in project.datasets]
    for table in tables:
        read_raw(project, table, store)
    for table in tables:
        validate_table(project, derive_contract(project, table, store), store)
    return store


def align(project: ProjectConfig) -> Store:
    """Everything up to the index of every task, from validated tables."""
    store, sql = store_of(project), load_sql(project)
    tables = [dataset.table for dataset in project.datasets]
    for table in tables:
        model = sql.models.get(table)
        align_table(project, table, model.sql if model else None, store)
    relate_tables(project, store)
    for temporal in project.tasks:
        lay_cutoffs(project, temporal.name, store)
    for name, model in sql.models.items():
        if name not in tables:
            run_model(store, model)
    contracts = [derive_contract(project, table, store) for table in tables]
    for task in project.task_names:
        lay_samples(project, read_task(project, task, store), store)
        index_task(project, read_task(project, task, store), contracts, sql.texts, store)
    return store
