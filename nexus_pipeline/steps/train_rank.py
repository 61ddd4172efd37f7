"""A task's training by several processes: what starts them, and what each of them runs.

What they need lies in a folder below the project's data, so that ranks on other machines find it
too: `torchrun ... -m nexus_pipeline.steps.train_rank FOLDER`. Ranks read nothing of the store.
"""

import os
import shutil
import sys
import warnings
from io import TextIOBase
from pathlib import Path

import numpy as np

from nexus_model.schema import ConfigurationError, Record, TrainingError
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.launch import cores, end_with_parent, launch
from nexus_pipeline.steps.stored import Stored
from nexus_pipeline.steps.tokenize_task import Splits

WORK, SPLITS, STORED = "work.json", "splits.npz", "stored.json"
FINISHED, PASSING = "finished| ", "passing| "
CLEARS = "\r\x1b[K"
GOES_ON = "the same command goes on from the last epoch that was kept"


class Work(Record):
    """What is trained: the same for every rank."""

    project: ProjectConfig
    root: Path
    task: str
    fingerprint: str


class Relayed(TextIOBase):
    """A screen whose lines go through a pipe, for a terminal at its other end."""

    def isatty(self) -> bool:
        """It may be one."""
        return True

    def write(self, text: str) -> int:
        """Mark what is finished and what is passing."""
        kind = FINISHED if text.endswith("\n") else PASSING
        sys.stdout.write(f"{kind}{text.removeprefix(CLEARS).rstrip()}\n")
        sys.stdout.flush()
        return len(text)


def train_on_ranks(
    project: ProjectConfig, task: str, splits: Splits, fingerprint: str, progress: ProgressLog
) -> Stored:
    """Train in ``training.devices`` processes of torchrun.

    Raises:
        ConfigurationError: there are CUDA devices, but fewer than asked for.
        TrainingError: a rank failed; it is named, and the others have ended.
    """
    devices = project.training.devices
    said = _too_many(devices)
    if said:
        progress.line(f"trained/{task}: {said}")
    folder = project.stage_folder("trained", task, "ranks")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STORED).unlink(missing_ok=True)
    work = Work(project=project, root=project.root.absolute(), task=task, fingerprint=fingerprint)
    # What the file leaves unsaid may depend on the number of samples, and has to stay unsaid.
    (folder / WORK).write_text(work.model_dump_json(exclude_unset=True), encoding="utf-8")
    np.savez(
        folder / SPLITS, split=splits.split_B, cluster=splits.clusters_B, moment=splits.moments_B
    )

    def tell(line: str) -> None:
        if line.startswith(PASSING):
            progress.passing(line.removeprefix(PASSING))
        elif line.startswith(FINISHED):
            progress.line(line.removeprefix(FINISHED))
        elif line:
            progress.line(f"trained/{task}: {line}")

    try:
        launch("nexus_pipeline.steps.train_rank", (str(folder),), devices, tell)
    except TrainingError as error:
        raise TrainingError(f"task {task}: {error}; {GOES_ON}") from error
    stored = Stored.model_validate_json((folder / STORED).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return stored


def _too_many(devices: int) -> str:
    """What to say of more processes than cores; CUDA devices cannot be shared."""
    import torch

    if torch.cuda.is_available():
        there = torch.cuda.device_count()
        if devices > there:
            raise ConfigurationError(
                f"training.devices is {devices}, and this machine has {there} CUDA device(s)"
            )
        return ""
    if devices > cores():
        return f"{devices} processes on {cores()} core(s) wait for each other"
    return ""


def train_rank(folder: Path) -> None:
    """Train as one of the ranks; the first one writes and tells."""
    from nexus_model.train.devices import joined
    from nexus_pipeline.steps.train_task import train_together

    work = Work.model_validate_json((folder / WORK).read_text(encoding="utf-8"))
    project = work.project.model_copy(update={"root": work.root})
    with np.load(folder / SPLITS, allow_pickle=False) as kept:
        splits = Splits(kept["split"], kept["cluster"], kept["moment"])
    ranks = joined(project.training.strategy)
    with Path(os.devnull).open("w") as nowhere:
        screen = Relayed() if ranks.is_first else nowhere
        progress = ProgressLog(Path(os.devnull), screen)  # type: ignore[arg-type]
        stored = train_together(project, work.task, splits, work.fingerprint, progress, ranks)
        if stored is not None:
            (folder / STORED).write_text(stored.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    from torch.distributed.elastic.multiprocessing.errors import record

    end_with_parent()
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    record(train_rank)(Path(sys.argv[1]))
