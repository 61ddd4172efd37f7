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
from typing import NamedTuple

from nexus_pipeline.assembly import load_sql
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.run import dagster_instance, materialize
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.evaluate_task import git_commit
from nexus_pipeline.storage import Store
from nexus_pipeline.tracking import Tracker

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
    """Through Dagster and MLflow, their state beside the project."""
    os.environ["NEXUS_HOME"] = str(file.parent / ".nexus")
    os.environ["DAGSTER_HOME"] = str(file.parent / ".nexus" / "dagster")
    materialize(file)


def plainly(file: Path) -> dict[str, float]:
    """The same steps and checks as plain functions, in order; CPU seconds by stage."""
    project = load_project(file)
    store = Store(project.root / "data" / "raw" / "shop.duckdb", threads=2)
    task, spent = project.task_names[0], {}
    for stage, work in (
        ("validated", raw_and_validated),
        ("aligned", aligned),
        ("trained", tokenized_and_trained),
        ("evaluated", optimized_and_evaluated),
        ("served", served),
    ):
        start = time.process_time()
        work(project, task, store)
        spent[stage] = round(time.process_time() - start, 2)
    return spent


def raw_and_validated(project: ProjectConfig, task: str, store: Store) -> None:  # noqa: ARG001
    """Read the files and split their rows by the contracts."""
    from nexus_pipeline.steps.contract_check import contract_failures
    from nexus_pipeline.steps.contracts import derive_contract
    from nexus_pipeline.steps.read_raw import read_raw
    from nexus_pipeline.steps.validate import validate_table

    for dataset in project.datasets:
        read_raw(project, dataset.table, store)
    folder = project.stage_folder("validated", "contracts")
    folder.mkdir(parents=True)
    for dataset in project.datasets:
        contract = derive_contract(project, dataset.table, store)
        validate_table(project, contract, store)
        assert not contract_failures(contract, store)
        (folder / f"{dataset.table}.json").write_text(contract.model_dump_json(indent=1))


def aligned(project: ProjectConfig, task: str, store: Store) -> None:
    """Number, link, sample, index; the suite over the training table."""
    from nexus_pipeline.defs.validated import contract_of
    from nexus_pipeline.steps import align
    from nexus_pipeline.steps.suite import check_training_table

    for dataset in project.datasets:
        align.align_table(project, dataset.table, None, store)
    align.relate_tables(project, store)
    found = align.read_task(project, task, store)
    align.lay_samples(project, found, store)
    report = check_training_table(
        store,
        task,
        project.stage_folder("validated", "expectations", task),
        kind=found.kind,
        entity_key=project[found.entity_table].primary_key,
        temporal=False,
    )
    assert report.success
    contracts = [contract_of(project, dataset.table) for dataset in project.datasets]
    align.index_task(project, found, contracts, load_sql(project).texts, store)
    assert not align.straddling_windows(project, task, store)
    assert not sum(align.rows_after_cutoff(project, task, store).values())


def tokenized_and_trained(project: ProjectConfig, task: str, store: Store) -> None:
    """Numbers, then weights."""
    from nexus_pipeline.steps.tokenize_task import tokenize_task
    from nexus_pipeline.steps.train_task import score_again, train_task

    tokenize_task(project, task, store)
    train_task(project, task, store, "plain", ProgressLog(project.root / "plain.log"))
    recorded, again = score_again(project, task, store)
    assert abs(recorded - again) < 1e-6


def optimized_and_evaluated(project: ProjectConfig, task: str, store: Store) -> None:
    """The artifact, the baselines, the report."""
    from nexus_pipeline.steps.evaluate_task import evaluate_task, make_baselines
    from nexus_pipeline.steps.optimize_task import optimize_task
    from nexus_pipeline.steps.serve_task import artifact_difference

    optimize_task(project, task, store, {"raw": {}})
    assert artifact_difference(project, task, store).largest < 1e-5
    make_baselines(project, task, store)
    evaluate_task(project, task, store, {})


def served(project: ProjectConfig, task: str, store: Store) -> None:
    """A registered version, its promotion, its predictions."""
    from nexus_pipeline.steps.predict_batch import predict_batch
    from nexus_pipeline.steps.register_task import register_task
    from nexus_pipeline.steps.serve_task import promote_task

    tracker = Tracker(project.root / ".nexus" / "mlflow" / "mlflow.db", "shop")
    with tracker.run("served") as run:
        register_task(project, task, store, run.run_id, tracker.uri, {})
    promote_task(project, task, tracker.uri)
    predict_batch(project, task, store, tracker.uri)


class Spent(NamedTuple):
    """CPU seconds of this process for one run, and by stage where they were taken."""

    cpu_s: float
    stages: dict[str, float]


def measured(work: Callable[[Path], dict[str, float] | None], customers: int, epochs: int) -> Spent:
    """One run in a new folder."""
    with tempfile.TemporaryDirectory() as parent:
        file = shop(Path(parent), customers, epochs)
        start = time.process_time()
        stages = work(file)
        return Spent(round(time.process_time() - start, 2), stages or {})


def new_home(file: Path) -> None:
    """The tables Dagster and MLflow make once, on the first run of a project."""
    os.environ["NEXUS_HOME"] = str(file.parent / ".nexus")
    os.environ["DAGSTER_HOME"] = str(file.parent / ".nexus" / "dagster")
    with dagster_instance(load_project(file)) as instance:
        instance.get_runs_count()
    assert Tracker(file.parent / ".nexus" / "mlflow" / "mlflow.db", "shop").experiment_id


def main() -> int:
    """Warm up both ways, measure both, write and print the ratio; 1 if it is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=8)
    chosen = parser.parse_args()
    for work in (plainly, orchestrated):
        measured(work, customers=200, epochs=1)
    plain = measured(plainly, chosen.customers, chosen.epochs)
    whole = measured(orchestrated, chosen.customers, chosen.epochs)
    found = {
        "command": f"python benchmarks/overhead.py --customers {chosen.customers} "
        f"--epochs {chosen.epochs}",
        "orchestrated_cpu_s": whole.cpu_s,
        "plain_cpu_s": plain.cpu_s,
        "ratio": round(whole.cpu_s / plain.cpu_s, 3),
        "limit": LIMIT,
        "plain_cpu_s_by_stage": plain.stages,
        "first_run_only_cpu_s": measured(new_home, 200, 1).cpu_s,
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
