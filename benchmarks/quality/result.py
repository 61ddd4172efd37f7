"""One result: what was asked of whom, on which machine, and how every predictor did."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.quality.scores import Cost, Judged
from nexus_model.evaluate.metrics import Direction
from nexus_model.schema import Record, TaskKind
from nexus_pipeline.steps.member import Training

VERSION = 1
_LIBRARIES = ("torch", "numpy", "lightgbm", "duckdb", "pyarrow")


class Machine(Record):
    """What seconds were taken on."""

    cpu: str
    cores: int
    system: str
    versions: dict[str, str]


class Count(Record):
    """Samples of a split, and the calendar days of their cutoffs."""

    samples: int
    clusters: int


class Result(Record):
    """One task of one project; ``version`` is that of the way it was scored."""

    version: int
    project: str
    task: str
    regime: str
    kind: TaskKind
    metric: str
    direction: Direction
    command: str
    commit: str
    clean: bool
    machine: Machine
    ensemble_sha256: str
    counts: dict[str, Count]
    history: tuple[str, ...]
    weight: float
    trainings: tuple[Training, ...]
    preparation: Cost
    predictors: tuple[Judged, ...]

    def __getitem__(self, name: str) -> Judged:
        return next(predictor for predictor in self.predictors if predictor.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """Predictors in order."""
        return tuple(predictor.name for predictor in self.predictors)

    @property
    def question(self) -> str:
        """The task without its regime."""
        return self.task.removesuffix(f"_{self.regime}")


def this_machine() -> Machine:
    """The machine this process runs on."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {name: version(name) for name in _LIBRARIES}
    return Machine(
        cpu=models[0] if models else platform.processor() or "unknown",
        cores=os.cpu_count() or 0,
        system=f"{platform.system()} {platform.machine()}",
        versions={"python": sys.version.split()[0], **found},
    )


def is_clean(root: Path) -> bool:
    """The tree is that of its commit, but for what this benchmark writes."""
    git = shutil.which("git") or "git"
    written = (":!benchmarks/quality/results", ":!benchmarks/quality/README.md")
    told = subprocess.run(
        [git, "status", "--porcelain", "--", ".", *written],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.returncode == 0 and not told.stdout.strip()


def result_file(folder: Path, project: str, task: str) -> Path:
    """Where a result is."""
    return folder / f"{project}-{task}.json"


def read_result(file: Path) -> Result:
    """What ``write_result`` wrote."""
    return Result.model_validate_json(file.read_text(encoding="utf-8"))


def write_result(file: Path, result: Result) -> None:
    """Replace a result, atomically; what is not defined becomes null."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    partial.replace(file)
