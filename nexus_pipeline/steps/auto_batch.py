"""The batch that a memory budget holds: measured once per configuration, then read.

B samples.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nexus_model.config import NexusConfig
from nexus_model.train.config import TrainingConfig
from nexus_pipeline.project import ProjectConfig

if TYPE_CHECKING:
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.batch import TaskTensors
    from nexus_model.train.batch_size import Step
    from nexus_model.train.loader import Goal

LARGEST_BATCH = 8192


def auto_batch_size(
    project: ProjectConfig,
    known: Path,
    model: "NexusFormer",
    tensors: "TaskTensors",
    train_B: np.ndarray,
    goal: "Goal",
    config: TrainingConfig,
) -> int:
    """The batch that one device holds, however many share it."""
    from nexus_model.train.batch_size import training_steps

    steps = training_steps(model, tensors, train_B, goal, config)
    return measured_batch_size(
        project, known, steps, model.config, min(LARGEST_BATCH, len(train_B))
    )


def measured_batch_size(
    project: ProjectConfig,
    known: Path,
    steps: Callable[[int], "Step"],
    model: NexusConfig,
    largest: int,
) -> int:
    """The largest batch within the memory budget: measured once per configuration, then read."""
    from nexus_model.train.batch_size import BatchSizeReport, configuration_hash, find_batch_size

    key = f"{configuration_hash(project.training.on_one_device, model)}:{largest}"
    found = _measured(known)
    if key not in found:
        budget = int(project.training.memory_budget_mb * 1e6)
        report = find_batch_size(steps, budget, largest)
        known.parent.mkdir(parents=True, exist_ok=True)
        known.write_text(json.dumps({**found, key: report.model_dump()}), encoding="utf-8")
        return report.batch_size
    return BatchSizeReport.model_validate(found[key]).batch_size


def _measured(known: Path) -> dict[str, Any]:
    """Batch sizes that were measured; none if the file was cut off."""
    try:
        found: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found
