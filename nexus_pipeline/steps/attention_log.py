"""Pictures of the attention between tables while a model trains, where the project asks for them.

Every so many epochs one JSON file with the arrays and one SVG picture a cycle, of validation
samples. Attention is where the model looks; what an answer depends on is another question.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.report_plots import plot_attention
from nexus_pipeline.steps.report_record import Attention

if TYPE_CHECKING:
    from nexus_model.tokenize.batch import TaskTensors
    from nexus_model.train.state import TrainState

MOST_SAMPLES = 256
# Opened alone, a picture has no page whose style it could take.
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#18212b}.end{text-anchor:end}"
    ".mid{text-anchor:middle}.heat{fill:#2557d6}</style>"
)


def attention_folder(project: ProjectConfig, task: str) -> Path:
    """Where the pictures of a task's training are."""
    return project.stage_folder("trained", task, "attention")


def attention_log(
    project: ProjectConfig, task: str, tensors: "TaskTensors", samples_B: np.ndarray
) -> Callable[["TrainState"], None]:
    """What to do after an epoch: nothing, unless the project logs attention patterns."""
    every = project.mlops.attention_every
    if not project.mlops.log_attention_patterns:
        return lambda _: None
    folder = attention_folder(project, task)

    def after_epoch(state: "TrainState") -> None:
        if state.progress.next_epoch % every == 0:
            write_attention(folder, state, tensors, samples_B[:MOST_SAMPLES])

    return after_epoch


def write_attention(
    folder: Path, state: "TrainState", tensors: "TaskTensors", samples_B: np.ndarray
) -> None:
    """One JSON file and, for each cycle, one SVG picture of the model as it is now."""
    from nexus_model.explain.attention_flow import attention_flow

    was_training = state.model.training
    state.model.eval()
    flow = attention_flow(state.model, tensors, samples_B)
    state.model.train(was_training)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"epoch_{state.progress.next_epoch:03d}"
    (folder / f"{name}.json").write_text(flow.model_dump_json(indent=1), encoding="utf-8")
    for cycle, weights in enumerate(flow.cycles, start=1):
        picture = plot_attention(Attention(tables=flow.paths, weights=weights))
        head, _, rest = picture.partition(">")
        alone = f"{_with_namespace(head)}>{_STYLE}{rest}"
        (folder / f"{name}_cycle_{cycle}.svg").write_text(alone, encoding="utf-8")


def _with_namespace(head: str) -> str:
    named = 'xmlns="http://www.w3.org/2000/svg"'
    return head if named in head else head.replace("<svg", f"<svg {named}", 1)
