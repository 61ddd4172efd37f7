"""Make every project's ensembles, score them beside their opponents, write the results.

``python -m benchmarks.quality.run [--projects rel_f1 baseball flights] [--tasks position ...]
[--raw rel_f1=FOLDER ...]``; a result of the same ensemble is not computed again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.quality.result import (
    VERSION,
    Count,
    Result,
    is_clean,
    read_result,
    result_file,
    this_machine,
    write_result,
)
from benchmarks.quality.scores import BOOSTED, OURS, Asked, Cost, days_of, judge
from benchmarks.quality.segments import history_of, segment_of
from nexus_model.align.samples import Regime
from nexus_model.evaluate.metrics import direction_of, primary_metric
from nexus_model.schema import ConfigurationError, NexusError
from nexus_model.tokenize.prepare import open_index
from nexus_pipeline.defs.aligned import load_sql
from nexus_pipeline.defs.making import ENSEMBLE
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.defs.trained import trained_before
from nexus_pipeline.defs.validated import contract_of
from nexus_pipeline.project import ProjectConfig, load_project, raw_folder
from nexus_pipeline.run import materialize
from nexus_pipeline.steps.align import (
    database_file,
    folder_hash,
    index_task,
    read_recipe,
    read_task,
)
from nexus_pipeline.steps.ensemble_task import Ensemble, ensemble_folder
from nexus_pipeline.steps.evaluate_task import git_commit
from nexus_pipeline.steps.plan import task_config
from nexus_pipeline.steps.records import Records
from nexus_pipeline.steps.tokenize_task import read_labels, read_splits, tokenize_task
from nexus_pipeline.storage import Store

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
PROJECTS = ("rel_f1", "baseball", "flights")
REL_F1 = ROOT.parent / "shared/data/rel_f1/raw"
_SPLITS = ("train", "validation", "test")
_OF_PROCESS = ("NEXUS_RAW", "NEXUS_HOME", "DAGSTER_HOME", "NEXUS_PROJECT")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", nargs="+", default=PROJECTS, choices=PROJECTS)
    parser.add_argument("--tasks", nargs="+", help="as the graph names them: position_frozen")
    parser.add_argument("--raw", nargs="+", default=[], metavar="PROJECT=FOLDER")
    parser.add_argument("--again", action="store_true", help="score what was scored as well")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def raw_of(file: Path, given: dict[str, str]) -> Path | None:
    """The folder of a project's raw tables; None if it is not there.

    Given by option, or by ``NEXUS_RAW_<PROJECT>``, or said in the project file.
    """
    name, project = file.parent.name, load_project(file)
    said = given.get(name) or os.environ.get(f"NEXUS_RAW_{name.upper()}")
    if said is None and project.raw_folder:
        try:
            return raw_folder(file.parent, project.raw_folder)
        except ConfigurationError:
            return None
    if said is None and name == "rel_f1":
        said = os.environ.get("NEXUS_REL_F1") or str(REL_F1)
    folder = Path(said or file.parent / f"data/raw/{name}").resolve()
    return folder if folder.is_dir() else None


@contextmanager
def in_project(file: Path, raw: Path) -> Iterator[None]:
    """This process is about one project; afterwards its environment is as it was."""
    former = {name: os.environ.get(name) for name in _OF_PROCESS}
    os.environ |= {"NEXUS_RAW": str(raw), "NEXUS_PROJECT": str(file)}
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def make_tables(file: Path) -> None:
    """Everything the ensembles of all tasks read; what is unchanged is reused."""
    materialize(file, stages=("raw", "validated", "aligned", "tokenized"))


def make_ensemble(file: Path, task: str) -> ProjectConfig:
    """The task's ensemble, and first what its trainings start from."""
    if trained_before(load_project(file), task):
        materialize(file, stages=("trained",), task=task)
    return materialize(file, task=task, job=ENSEMBLE)


def store_of(project: ProjectConfig) -> Store:
    """The project's store."""
    return default_resources(project)["store"].store()  # type: ignore[attr-defined]


def prepared_again(project: ProjectConfig, task: str, store: Store) -> Cost:
    """Seconds of what NexusFormer reads: index and tensors made once more, in another place.

    What trainings start from counts with the wall seconds it took.
    """
    contracts = [contract_of(project, dataset.table) for dataset in project.datasets]
    spec, models = read_task(project, task, store), load_sql(project).texts
    with tempfile.TemporaryDirectory() as folder:
        apart = project.model_copy(update={"root": Path(folder).resolve()})
        database_file(apart).parent.mkdir(parents=True)
        database_file(apart).write_bytes(database_file(project).read_bytes())
        wall, cpu = time.perf_counter(), time.process_time()
        index_task(apart, spec, contracts, models, store)
        tokenize_task(apart, task, store)
        spent = Cost(seconds=time.perf_counter() - wall, cpu_seconds=time.process_time() - cpu)
    records = Records(project.root / "data" / "records" / project.project_name)
    made = (records.read(key) for key in trained_before(project, task))
    before = sum(record.seconds for record in made if record)
    return spent + Cost(seconds=before, cpu_seconds=before)


def asked_of(
    project: ProjectConfig, task: str, store: Store
) -> tuple[Asked, dict[str, Count], tuple[str, ...]]:
    """What the task asks, how many samples and days a split has, and which paths are history."""
    recipe, splits = read_recipe(project, task), read_splits(task, store)
    _, indexes = open_index(project.stage_folder("aligned", task), len(recipe.plans))
    pairs = zip(recipe.paths, indexes, strict=True)
    history = history_of(recipe, {path.name: index.offsets_B for path, index in pairs})
    is_dated = recipe.task.horizon_days is not None
    asked = Asked(
        primary_metric(recipe.task).name,
        read_labels(task, store),
        splits.split_B,
        days_of(splits.clusters_B) if is_dated else splits.clusters_B,
        segment_of(history.rows_B),
    )
    counts = {
        split: Count(
            samples=int(asked.at(split).sum()),
            clusters=len(np.unique(asked.cluster_B[asked.at(split)])),
        )
        for split in _SPLITS
    }
    return asked, counts, history.paths


def score_task(project: ProjectConfig, task: str, store: Store, command: str) -> Result:
    """The result of a task whose ensemble was made."""
    folder = ensemble_folder(project, task)
    ensemble = Ensemble.model_validate_json((folder / "ensemble.json").read_text("utf-8"))
    asked, counts, history = asked_of(project, task, store)
    prepared = prepared_again(project, task, store)
    runs = {
        score.name: np.load(folder / f"{score.name}.npy", allow_pickle=False)
        for score in ensemble.scores
    }
    costs = {
        score.name: Cost(seconds=score.seconds, cpu_seconds=score.cpu_seconds)
        for score in ensemble.scores
    }
    costs |= {name: costs[name] + prepared for name in OURS}
    regime = task_config(project, task).names[task] if project.tasks else Regime.SEED_TIME
    return Result(
        version=VERSION,
        project=project.project_name,
        task=task,
        regime=regime.value,
        kind=ensemble.kind,
        metric=ensemble.metric,
        direction=direction_of(ensemble.metric),
        command=command,
        commit=git_commit(ROOT),
        clean=is_clean(ROOT),
        machine=this_machine(),
        ensemble_sha256=folder_hash(folder),
        counts=counts,
        history=history,
        weight=ensemble.weight,
        trainings=ensemble.trainings,
        preparation=prepared,
        predictors=judge(asked, runs, costs),
    )


def is_scored(file: Path, sha256: str) -> bool:
    """Whether a result is of this ensemble, and scored as we score now."""
    if not file.is_file():
        return False
    told = json.loads(file.read_text(encoding="utf-8"))
    return (told.get("version"), told.get("ensemble_sha256")) == (VERSION, sha256)


def run_task(file: Path, task: str, asked: argparse.Namespace) -> str:
    """Make, score and write one task; a line about it."""
    project = make_ensemble(file, task)
    to = result_file(asked.out, project.project_name, task)
    if not asked.again and is_scored(to, folder_hash(ensemble_folder(project, task))):
        return f"{to.stem}: scored before"
    raw = " --raw rel_f1=FOLDER" if file.parent.name == "rel_f1" else ""
    command = f"python -m benchmarks.quality.run --projects {file.parent.name} --tasks {task}{raw}"
    write_result(to, score_task(project, task, store_of(project), command))
    found = read_result(to)
    tested = ", ".join(f"{name} {found[name].test.estimate:.4f}" for name in (*BOOSTED, *OURS))
    return f"{to.stem}: {found.metric} {tested}"


def wanted(projects: Sequence[str], tasks: Sequence[str] | None) -> dict[Path, list[str]]:
    """Project files with those of their tasks that were asked for.

    Raises:
        ConfigurationError: none of the projects has a task of that name.
    """
    files = [ROOT / "examples" / name / "nexusflow.yaml" for name in projects]
    known = {file: load_project(file).task_names for file in files}
    unknown = set(tasks or ()) - {task for names in known.values() for task in names}
    if unknown:
        raise ConfigurationError(f"no task {', '.join(sorted(unknown))}")
    return {
        file: [task for task in names if tasks is None or task in tasks]
        for file, names in known.items()
    }


def run_project(file: Path, tasks: Sequence[str], asked: argparse.Namespace) -> Iterator[str]:
    """Run tasks in turn; yield what could not be run."""
    raw = raw_of(file, dict(entry.split("=", 1) for entry in asked.raw))
    name = file.parent.name
    if raw is None:
        yield f"{name}: no raw tables; --raw {name}=FOLDER says where they are"
        return
    with in_project(file, raw):
        try:
            make_tables(file)
        except NexusError as error:
            yield f"{name}: {error}"
            return
        for task in tasks:
            try:
                print(run_task(file, task, asked), flush=True)
            except NexusError as error:
                yield f"{name}-{task}: {error}"


def main() -> int:
    """All projects in turn; what cannot be run is said, and the exit code tells of it."""
    asked, failed = arguments(), 0
    for file, tasks in wanted(asked.projects, asked.tasks).items():
        for problem in run_project(file, tasks, asked):
            failed += 1
            print(f"not run: {problem}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
