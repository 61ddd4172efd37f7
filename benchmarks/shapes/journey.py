"""The whole way of one database: raw files to predictions from raw files, step by step.

The steps are those of the pipeline's assets, called directly: Dagster and MLflow around them would
take most of the time and see the same calls. ``through_the_command`` goes through them as well.
"""

import datetime as dt
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq

from benchmarks.shapes.databases import Database, project_file, write_tables
from nexus_model.align.paths import find_paths, unreached_tables
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import DatabaseSpec, ForeignKey, NexusError, TableSpec
from nexus_pipeline.defs.aligned import load_sql
from nexus_pipeline.predict_files import predict_flagged
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.sql.run import run_model
from nexus_pipeline.steps import align, optimize_task
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.model_plan import fresh_model
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.steps.serve_task import artifact_difference
from nexus_pipeline.steps.tokenize_task import open_tensors_of, tokenize_task
from nexus_pipeline.steps.train_task import train_task
from nexus_pipeline.steps.validate import validate_table
from nexus_pipeline.storage import Store

DEEPEST, MOST_PATHS = 3, 14
LARGEST_DIFFERENCE = 1e-4


class Arrived(NamedTuple):
    """How a journey ended: rows of the entity's file, predictions, or why it was refused."""

    rows: int = 0
    predictions: int = 0
    refused: str = ""


def reach_of(database: Database) -> tuple[int, tuple[str, ...]]:
    """The depth that reaches most tables with few paths, and the tables it does not reach."""
    spec = DatabaseSpec(
        tables=tuple(
            TableSpec(
                name=table.name,
                primary_key=table.primary,
                foreign_keys=tuple(
                    ForeignKey(
                        columns=link.columns,
                        references_table=link.parent,
                        references_columns=database[link.parent].primary,
                    )
                    for link in table.links
                ),
            )
            for table in database.tables
        )
    )
    found = []
    for depth in range(1, DEEPEST + 1):
        paths = find_paths(spec, database.asked.table, depth)
        if depth == 1 or len(paths) <= MOST_PATHS:
            found.append((len(unreached_tables(spec, paths)), depth, unreached_tables(spec, paths)))
    _, depth, lost = min(found, key=lambda item: item[:2])
    return depth, lost


def set_out(database: Database, folder: Path, *, whole: bool = False) -> ProjectConfig:
    """Files and a project file; ``whole`` leaves in the tables that nothing leads to."""
    write_tables(database, folder / "raw")
    depth, lost = reach_of(database)
    text = project_file(database, () if whole else lost, depth)
    (folder / "nexusflow.yaml").write_text(text, encoding="utf-8")
    if database.asked.sql:
        models = folder / "dbt_like_sql" / "shapes" / "aligned"
        models.mkdir(parents=True, exist_ok=True)
        (models / "soon.sql").write_text(database.asked.sql, encoding="utf-8")
    return load_project(folder / "nexusflow.yaml")


def travel(database: Database, folder: Path) -> Arrived:
    """Send a database the whole way.

    Raises:
        AssertionError: an answer is missing, not finite, or not in the order of the file.
    """
    project = set_out(database, folder)
    store = Store(folder / "store.duckdb", threads=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            model = trained_file(project, store)
            difference = artifact_difference(project, project.task_names[0], store)
    except NexusError as error:
        return Arrived(refused=f"{type(error).__name__}: {error}")
    assert difference.largest <= LARGEST_DIFFERENCE, f"files and raw tables differ: {difference}"
    return answered(database, model, folder)


def trained_file(project: ProjectConfig, store: Store) -> Path:
    """The steps from raw tables to the ``.nxf`` file."""
    (task,) = project.task_names
    tokenized(project, store)
    train_task(project, task, store, "0" * 16, ProgressLog(project.root / "log.txt"))
    # Latency of a model of one epoch is of no interest, and takes a third of the time.
    with patch.object(optimize_task, "LATENCY_CALLS", 2):
        optimize_task.optimize_task(project, task, store, {})
    return artifact_folder(project, task) / FULL


def tokenized(project: ProjectConfig, store: Store) -> None:
    """The steps from raw tables to tensors, and what must be true of them.

    Raises:
        AssertionError: validation lost a row, or a sample sees one that is later than its cutoff.
    """
    tables = [dataset.table for dataset in project.datasets]
    sql, (task,) = load_sql(project), project.task_names
    for table in tables:
        read_raw(project, table, store)
    contracts = [derive_contract(project, table, store) for table in tables]
    for contract in contracts:
        report = validate_table(project, contract, store)
        assert report.accepted + report.quarantined == report.raw_rows, "a row was lost"
    for table in tables:
        model = sql.models.get(table)
        align.align_table(project, table, model.sql if model else None, store)
    align.relate_tables(project, store)
    for asked in project.tasks:
        align.lay_cutoffs(project, asked.name, store)
        run_model(store, sql.models[asked.sql])
    spec = align.read_task(project, task, store)
    align.lay_samples(project, spec, store)
    align.index_task(project, spec, contracts, sql.texts, store)
    late = align.rows_after_cutoff(project, task, store)
    assert not any(late.values()), f"rows later than the cutoff: {late}"
    tokenize_task(project, task, store)


def rehearse(database: Database, folder: Path, *, whole: bool = False) -> Arrived:
    """The way without training: a fresh model answers. ``whole`` as ``set_out``.

    Raises:
        AssertionError: as ``travel``.
    """
    project = set_out(database, folder, whole=whole)
    store = Store(folder / "store.duckdb", threads=1)
    (task,) = project.task_names
    try:
        tokenized(project, store)
    except NexusError as error:
        return Arrived(refused=f"{type(error).__name__}: {error}")
    recipe, (_, tokenizer) = align.read_recipe(project, task), open_tensors_of(project, task)
    model = fresh_model(project, recipe, tokenizer, seed=0)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    file = folder / "fresh.nxf"
    NexusFlowModelArtifact(recipe, tokenizer, model.config, weights).save(file)
    return answered(database, file, folder)


def answered(database: Database, model: Path, folder: Path) -> Arrived:
    """Ask the file alone, from the raw files, and look at every answer."""
    entity = database[database.asked.table]
    output = folder / "answers.parquet"
    cutoff = None if database.asked.horizon_days is None else "2023-06-01"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = predict_flagged(model, folder / "raw", cutoff, output).rows
    found = pq.read_table(output)
    assert rows == found.num_rows == entity.rows, f"{rows} answers for {entity.rows} rows"
    check_order(entity.cells(entity.primary), found.select(list(entity.primary)).to_pylist())
    for name in found.column_names:
        cells = found[name]
        if name.startswith(("prediction", "probability_")) and str(cells.type) == "double":
            assert np.isfinite(cells.to_numpy()).all(), f"{name} is not finite"
        if name.startswith("prediction"):
            assert cells.null_count == 0, f"{name} is empty"
    return Arrived(rows=entity.rows, predictions=found.num_rows)


def check_order(expected: Sequence[tuple[object, ...]], found: Sequence[dict[str, object]]) -> None:
    """Keys come back in the file's order."""
    mine = [tuple(_spelled(cell) for cell in row) for row in expected]
    theirs = [tuple(_spelled(cell) for cell in row.values()) for row in found]
    assert mine == theirs, "answers are not in the order of the file"


def _spelled(cell: object) -> str:
    """A key's cell in one spelling: CSV files know no types."""
    text = cell.isoformat() if isinstance(cell, dt.date) else str(cell)
    return str(int(text)) if text.isdigit() else text


def through_the_command(database: Database, folder: Path) -> Arrived:
    """The same by ``nexusflow train``: with Dagster, MLflow, baselines, report and registry.

    Raises:
        AssertionError: as ``travel``.
    """
    from nexus_pipeline.run import RunFailedError, materialize

    project = set_out(database, folder)
    try:
        materialize(folder / "nexusflow.yaml")
    except RunFailedError as error:
        return Arrived(refused=f"{type(error).__name__}: {error}")
    model = artifact_folder(project, project.task_names[0]) / FULL
    return answered(database, model, folder)
