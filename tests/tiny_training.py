"""Short trainings on the tiny database, for tests of the loop, of resuming and of artifacts."""

from functools import cache

import numpy as np
import torch
import yaml
from tiny import tiny_database, tiny_model

from nexus_model.schema import TaskKind
from nexus_model.tokenize.also import fit_also
from nexus_model.train.loop import Goal, fit, new_state
from nexus_model.train.state import TrainingConfig
from nexus_pipeline.project import load_project

CONFIG = TrainingConfig(batch_size=16, epochs=4, patience=3, warmup_steps=3, lr=3e-3, seed=5)


@cache
def shop(kind=TaskKind.BINARY):
    """The tiny database, made once."""
    return tiny_database(kind)


@cache
def shop_also(*kinds):
    """The tiny database with further labels of these kinds; every third is not known."""
    tiny, labels = shop(), []
    for kind in kinds:
        other = shop(kind)
        task = other.recipe.task.model_copy(update={"name": f"also_{kind}"})
        label_B = np.where(tiny.every_B % 3 == 1, np.nan, other.label_B)
        labels.append(fit_also(task, label_B, tiny.split_B == "train"))
    return tiny._replace(tensors=tiny.tensors._replace(also=tuple(labels)))


def also_tasks(tiny):
    """The further tasks of the tiny database."""
    return tuple(own.goal.task for own in tiny.tensors.also)


def goal_of(tiny, *, higher=True):
    """Learn the tiny task, and what it has further labels of."""
    task, scale = tiny.recipe.task, tiny.tokenizer.label
    also = tuple(own.goal for own in tiny.tensors.also)
    return Goal(task=task, scale=scale, higher_is_better=higher, also=also)


def fresh(tiny=None, config=CONFIG, seed=0):
    """A training that has not begun; with dropout, so that random numbers are drawn."""
    tiny = tiny or shop()
    return new_state(tiny_model(tiny, seed, also=also_tasks(tiny), dropout=0.3), config)


def run(state, tiny=None, config=CONFIG, score=None, higher=True, on_epoch=None, on_step=None):
    """Fit a state; the score is minus the number of the epoch unless one is given."""
    tiny = tiny or shop()
    return fit(
        state,
        tiny.tensors,
        (tiny.samples("train"), tiny.samples("validation")),
        goal_of(tiny, higher=higher),
        config,
        score or (lambda prediction, label: -state.progress.next_epoch),
        on_step or (lambda step: None),
        on_epoch or (lambda state: None),
    )


def scripted(*scores):
    """A score that says these numbers one after another."""
    left = iter(scores)
    return lambda prediction, label: next(left)


def weights(state):
    """Copies of the weights."""
    return {name: tensor.clone() for name, tensor in state.model.state_dict().items()}


def same(one, other):
    """Whether two sets of weights are equal bit by bit."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def project_with(folder, section, said):
    """A project file that says this in one section and no more than it must elsewhere."""
    content = {
        "project_name": "shop",
        "datasets": [{"name": "customers", "primary_key": "id"}],
        "target": {"target_table": "customers", "target_column": "vip"},
        section: said,
    }
    (folder / "nexusflow.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_project(folder / "nexusflow.yaml")
