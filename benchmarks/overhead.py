"""What Dagster and MLflow cost: CPU seconds of an orchestrated run over the same plain steps.

Both run in one process, after the imports, on a generated shop project in a folder of its own:
``python benchmarks/overhead.py``. The figure goes to ``benchmarks/results/overhead.json``.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from nexus_pipeline.assembly import load_sql
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.run import materialize
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.evaluate_task import git_commit
from nexus_pipeline.storage import Store

RESULTS = Path(__file__).parent / "results" / "overhead.json"
LIMIT = 1.25


def shop(parent: Path, customers: int, epochs: int) -> Path:
    """A fresh shop project; its file."""
    folder = create_project(parent, "shop")
    write_shop(folder / "data" / "raw" / "shop", customers)
    file = folder / "nexusflow.yaml"
    with file.open("a", encoding="utf-8") as project:
        project.write(f"training: {{epochs: {epochs}, patience: {epochs}}}\n")
    return file


def orchestrated(file: Path) -> None:
    """Through Dagster and MLflow, state kept beside the project."""
    os.environ["NEXUS_HOME"] = str(file.parent / ".nexus")
    os.environ["DAGSTER_HOME"] = str(file.parent / ".nexus" / "dagster")
    materialize(file)


def plainly(file: Path) -> None:
    """The same steps as plain functions, from raw tables to the report."""
    from nexus_pipeline.steps import align, contracts, validate
    from nexus_pipeline.steps.evaluate_task import evaluate_task, make_baselines
    from nexus_pipeline.steps.optimize_task import optimize_task
    from nexus_pipeline.steps.read_raw import read_raw
    from nexus_pipeline.steps.tokenize_task import tokenize_task
    from nexus_pipeline.steps.train_task import train_task

    project = load_project(file)
    store = Store(project.root / "data" / "raw" / "shop.duckdb", threads=2)
    progress = ProgressLog(project.root / "plain.log")
    tables = [dataset.table for dataset in project.datasets]
    for table in tables:
        read_raw(project, table, store)
    found = [contracts.derive_contract(project, table, store) for table in tables]
    for contract in found:
        validate.validate_table(project, contract, store)
    for table in tables:
        align.align_table(project, table, None, store)
    align.relate_tables(project, store)
    task = align.read_task(project, project.task_names[0], store)
    align.lay_samples(project, task, store)
    expectations(project, store)
    align.index_task(project, task, found, load_sql(project).texts, store)
    tokenize_task(project, task.name, store)
    train_task(project, task.name, store, "plain", progress)
    optimize_task(project, task.name, store, {})
    make_baselines(project, task.name, store)
    evaluate_task(project, task.name, store, {})


def expectations(project: ProjectConfig, store: Store) -> None:
    """The Great Expectations suite, which the orchestrated run works through as a check."""
    from nexus_pipeline.steps.align import read_task
    from nexus_pipeline.steps.suite import check_training_table

    task = read_task(project, project.task_names[0], store)
    check_training_table(
        store,
        task.name,
        project.root / "docs",
        kind=task.kind,
        entity_key=project[task.entity_table].primary_key,
        temporal=False,
    )


def cpu_seconds(work: Callable[[Path], None], customers: int, epochs: int) -> float:
    """CPU seconds of this process for one run in a new folder."""
    with tempfile.TemporaryDirectory() as parent:
        file = shop(Path(parent), customers, epochs)
        start = time.process_time()
        work(file)
        return time.process_time() - start


def main() -> int:
    """Warm up both ways, measure both, write and print the ratio; 1 if it is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=8)
    chosen = parser.parse_args()
    for work in (plainly, orchestrated):
        cpu_seconds(work, customers=200, epochs=1)
    plain = cpu_seconds(plainly, chosen.customers, chosen.epochs)
    whole = cpu_seconds(orchestrated, chosen.customers, chosen.epochs)
    found = {
        "command": f"python benchmarks/overhead.py --customers {chosen.customers} "
        f"--epochs {chosen.epochs}",
        "orchestrated_cpu_s": round(whole, 2),
        "plain_cpu_s": round(plain, 2),
        "ratio": round(whole / plain, 3),
        "limit": LIMIT,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": git_commit(Path(__file__).parent),
        "versions": {name: version(name) for name in ("dagster", "mlflow", "torch", "duckdb")},
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    return int(found["ratio"] > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
