"""A signal that is only in the links: NexusFormer finds it, and nothing where there is none."""

from functools import cache

import numpy as np
import pytest
from tiny import CLASS, Tiny, aligned_database, raw_table, table_spec, tiny_model
from tiny_training import run

from nexus_model.align.assemble import sample_times
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.apply import predict_samples
from nexus_model.evaluate.metrics import measure
from nexus_model.schema import DatabaseSpec, TaskKind, TaskSpec
from nexus_model.tokenize.prepare import fit_tokenizer, index_paths, task_tensors
from nexus_model.train.loop import new_state
from nexus_model.train.state import TrainingConfig

CUSTOMERS, ITEMS, PRODUCTS = 607, 5, 13
CONFIG = TrainingConfig(batch_size=128, epochs=9, patience=9, lr=1e-2, warmup_steps=5)
DATABASE = DatabaseSpec(
    tables=(
        table_spec("customers"),
        table_spec("products", {"kind": CLASS}),
        table_spec("items", {}, {"customer_id": "customers", "product_id": "products"}),
    )
)
RECIPE = Recipe(
    raw=tuple(raw_table(table) for table in DATABASE.tables),
    database=DATABASE,
    task=TaskSpec(
        name="likes_tea", kind=TaskKind.BINARY, entity_table="customers", target_column="tea",
        classes=("0", "1"),
    ),
    plans=tuple(PathPlan(path=p, max_rows=9) for p in find_paths(DATABASE, "customers", 1)),
)  # fmt: skip


def world(*, links=True):
    """Who likes tea buys more tea than not; only the products of the items tell."""
    rng = np.random.default_rng(0)
    tea = np.arange(PRODUCTS) % 2
    bought = rng.integers(0, PRODUCTS, (CUSTOMERS, ITEMS))
    customer = np.repeat(np.arange(CUSTOMERS), ITEMS)
    frames = {
        "customers": {"id": range(CUSTOMERS)},
        "products": {"id": range(PRODUCTS), "kind": ["tea" if t else "jam" for t in tea]},
        "items": {
            "id": rng.permutation(len(customer)),
            "customer_id": customer,
            "product_id": bought.ravel() if links else [None] * len(customer),
        },
    }
    return frames, (tea[bought].sum(1) > ITEMS / 2).astype(np.float64)


@cache
def heldout_auc(*, links=True, shuffled=False):
    """Area under the curve on entities that were never trained on, and its standard error."""
    frames, label_B = world(links=links)
    if shuffled:
        label_B = np.random.default_rng(1).permutation(label_B)
    con = aligned_database(RECIPE, frames)
    times = sample_times(np.arange(CUSTOMERS), None)
    indexes = index_paths(con, RECIPE, times)
    split_B = np.array(["train", "train", "train", "validation", "test"])[np.arange(CUSTOMERS) % 5]
    tokenizer = fit_tokenizer(con, RECIPE, times, indexes, label_B, split_B == "train")
    tensors = task_tensors(con, RECIPE, tokenizer, times, indexes, label_B)
    tiny = Tiny(con, RECIPE, times, indexes, label_B, split_B, tokenizer, tensors)
    state = new_state(tiny_model(tiny, width=16), CONFIG)
    run(state, tiny, CONFIG, score=lambda predicted, label: measure("auroc", predicted, label))
    test_B = tiny.samples("test")
    found = predict_samples(state.model, tensors, test_B, RECIPE.task, tokenizer.label)
    ones = int(label_B[test_B].sum())
    error = np.sqrt((len(test_B) + 1) / (12 * ones * (len(test_B) - ones)))
    return measure("auroc", found, label_B[test_B]), error


def test_a_signal_in_the_parents_of_the_children_is_found():
    assert heldout_auc()[0] > 0.97


@pytest.mark.parametrize("changed", [{"links": False}, {"shuffled": True}])
def test_without_links_or_with_shuffled_labels_nothing_generalises(changed):
    area, error = heldout_auc(**changed)
    assert abs(area - 0.5) <= 3 * error
