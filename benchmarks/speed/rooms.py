"""What training's step is measured on: a tokenized database, its model, its training samples.

``shop``: generated, histories skewed, hardly a row is read by two samples. ``f1``: the default
project's question who does not finish; races, teams and circuits are read by many, and a driver's
races by every sample about him.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.speed.case import Size
from benchmarks.speed.own_state import keep_state_in

CUSTOMERS: dict[Size, int] = {"small": 600, "full": 8_000}
DATABASES = "shop", "f1"
TASK = "dnf"


class Room(NamedTuple):
    """The tensors of a task's samples, the model with its optimizer, and training samples."""

    task: Any
    scale: Any
    tensors: Any
    model: Any
    optimizer: Any
    order_B: Any


def room(database: str, folder: Path, size: Size) -> Room:
    """The same for every part; the small one of ``f1`` is as large as the full one."""
    import numpy as np
    import torch

    made = _shop(size) if database == "shop" else _f1(folder)
    task, scale, tensors, model, train_B = made
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    order_B = np.random.default_rng(0).permutation(train_B)
    return Room(task, scale, tensors, model.train(), optimizer, order_B)


def _shop(size: Size) -> tuple[Any, ...]:
    import torch

    from benchmarks.shop.database import shop_task
    from benchmarks.shop.parts import models
    from nexus_model.model import NexusFormer
    from nexus_pipeline.generate.parts import ShopParts

    torch.manual_seed(0)
    shop = shop_task(CUSTOMERS[size], 0, ShopParts())
    task, paths = shop.recipe.task, shop.recipe.paths
    model = NexusFormer(models()["default"], shop.tokenizer, paths, task)
    return task, shop.tokenizer.label, shop.tensors, model, shop.samples("train")


def _f1(folder: Path) -> tuple[Any, ...]:
    from nexus_model.align.samples import Split
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.project import load_project
    from nexus_pipeline.steps.align import read_recipe
    from nexus_pipeline.steps.model_plan import fresh_model
    from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits

    project = load_project(folder / "f1" / "nexusflow.yaml")
    recipe = read_recipe(project, TASK)
    tensors, tokenizer = open_tensors_of(project, TASK)
    store = default_resources(project)["store"].store()  # type: ignore[attr-defined]
    train_B = read_splits(TASK, store)[Split.TRAIN]
    model = fresh_model(project, recipe, tokenizer, 0)
    return recipe.task, tokenizer.label, tensors, model, train_B


def tokenized_f1(folder: Path, size: Size) -> dict[str, Any]:  # noqa: ARG001 - parts are called alike
    """The default project up to its tensors, in a folder of its own."""
    from nexus_pipeline.run import materialize

    here, there = Path(__file__).parents[2], folder / "f1"
    there.mkdir()
    shutil.copy(here / "nexusflow.yaml", there)
    shutil.copytree(here / "dbt_like_sql", there / "dbt_like_sql")
    shutil.copytree(here / "data" / "raw" / "f1", there / "data" / "raw" / "f1")
    keep_state_in(there)
    materialize(there / "nexusflow.yaml", ("raw", "validated", "aligned", "tokenized"), TASK)
    return {}
