"""Distillation: a small model of the same tables that learns what a large one answers.

B samples. Hinton et al. 2015, section 2: labels and the teacher's answers are mixed. DIFFERS: mixed
in the label itself, which the losses of a probability and of a number take as it is; no
temperature, since a single probability already tells how sure the teacher is.
"""

from collections.abc import Sequence

import numpy as np

from nexus_model.config import NexusConfig
from nexus_model.optimize.narrow import Make, narrowed_config, parameters_of
from nexus_model.schema import ConfigurationError, TaskKind
from nexus_model.tokenize.batch import TaskTensors

_STEP = 8
DISTILLED = (TaskKind.BINARY, TaskKind.REGRESSION)


def student_config(
    config: NexusConfig, tables: Sequence[str], make: Make, share: float
) -> NexusConfig:
    """The widest configuration with at most ``share`` of the parameters, one token per path.

    Raises:
        ConfigurationError: even the narrowest has more.
    """
    allowed = share * parameters_of(config, make)
    for width in range(config.width - _STEP, 0, -_STEP):
        tried = narrowed_config(config, tables, width, 1.0)
        heads = max(h for h in range(1, config.heads + 1) if width % h == 0)
        tried = tried.model_copy(update={"heads": heads, "summary_tokens": 1})
        if parameters_of(tried, make) <= allowed:
            return tried
    raise ConfigurationError(f"no student has {share:.0%} of the parameters: ask for a larger one")


def taught(
    tensors: TaskTensors, chosen_B: np.ndarray, answer_B: np.ndarray, kind: TaskKind, weight: float
) -> TaskTensors:
    """The task with the labels of the chosen samples drawn towards a teacher's answers.

    Raises:
        ConfigurationError: the task's labels are classes or quantiles, which cannot be mixed.
    """
    if kind not in DISTILLED:
        raise ConfigurationError(f"a student of a {kind.value} task cannot be taught answers")
    label_B = tensors.label_B.copy()
    label_B[chosen_B] = (1 - weight) * label_B[chosen_B] + weight * answer_B
    return tensors._replace(label_B=label_B)
