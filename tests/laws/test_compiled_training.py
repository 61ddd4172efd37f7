"""Compiled training: parts that trace whole, graphs that fit every batch, the same weights."""

import logging
from functools import cache

import numpy as np
import pytest
import torch
from tiny import tiny_database, tiny_frames, tiny_model, tiny_recipe
from tiny_training import CONFIG, goal_of, shop, weights
from torch._dynamo.utils import counters

from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan
from nexus_model.encode.choose import CustomConfig, MLPConfig, TableConfig
from nexus_model.encode.registry import ContextualEncoder, TransformerFactory
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.exchange.refine import RefinementConfig
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.schema import ConfigurationError, DatabaseSpec
from nexus_model.tokenize.batch import build_batch
from nexus_model.train import compiled
from nexus_model.train.compiled import MOST_KINDS, CompiledParts, kind_of, parts_of
from nexus_model.train.engine import Sharded
from nexus_model.train.loop import new_state
from nexus_model.train.step import train_step

COMPILED = CONFIG.model_copy(update={"compile": True})
TABLES = ("customers", "orders")


@cache
def small():
    """Customers and orders of the tiny database: a model of few operations traces soon."""
    recipe, frames = tiny_recipe(), tiny_frames()
    kept = {*TABLES, recipe.history}
    tables = tuple(
        own.model_copy(
            update={
                "foreign_keys": tuple(k for k in own.foreign_keys if k.references_table in kept)
            }
        )
        for own in recipe.database.tables
        if own.name in kept
    )
    database = DatabaseSpec(tables=tables)
    plans = [PathPlan(path=path, max_rows=5) for path in find_paths(database, "customers", 1)]
    few = {
        "database": database,
        "raw": tuple(raw for raw in recipe.raw if raw.name in TABLES),
        "plans": tuple(plans),
    }
    return tiny_database(
        recipe=recipe.model_copy(update=few), frames={name: frames[name] for name in TABLES}
    )


def model_of(tiny, **config):
    """One cycle, rows read by MLPs, in training."""
    tables = {own.table: TableConfig(encoder=MLPConfig()) for own in tiny.tokenizer.tables}
    return tiny_model(tiny, **{"cycles": 1, "parent_hops": 1, "tables": tables} | config).train()


def batches(tiny, *sizes):
    """Random samples of a training."""
    made = np.random.default_rng(0)
    return [build_batch(tiny.tensors, made.permutation(tiny.every_B)[:size], 1) for size in sizes]


@pytest.fixture
def traced(monkeypatch):
    """Parts are traced whole and run as they were traced; what was counted meanwhile."""
    torch._dynamo.reset()
    counters.clear()

    def in_one_piece(call):
        return torch.compile(call, fullgraph=True, dynamic=True, backend="eager")

    monkeypatch.setattr(compiled, "in_one_piece", in_one_piece)
    # What torch writes for its own tools takes longer than the tracing.
    monkeypatch.setattr(logging.getLogger("torch.__trace"), "disabled", True)
    yield counters
    torch._dynamo.reset()


def steps(config, given):
    """A short training on these batches: the losses, and the weights after it."""
    tiny = small()
    state = new_state(model_of(tiny), config)
    torch.manual_seed(0)
    losses = [train_step(state, [batch], goal_of(tiny), config).loss for batch in given]
    return losses, weights(state)


def test_training_is_the_same_compiled_in_one_graph_a_part_whatever_the_batch(traced):
    given = batches(small(), 14, 3, 9, 17, 11, 5)
    assert len({kind_of(batch) for batch in given}) == 1
    plain, compiled_too = steps(CONFIG, given), steps(COMPILED, given)
    assert plain[0] == pytest.approx(compiled_too[0], abs=1e-6)
    torch.testing.assert_close(compiled_too[1], plain[1])
    assert compiled_too[1].keys() == plain[1].keys()
    assert not traced["graph_break"]
    # Rows that stood together already reach the exchange as another kind of tensor: one more.
    assert traced["stats"]["unique_graphs"] <= len(parts_of(model_of(small()))) + 1


def test_nothing_stays_compiled_after_a_step(monkeypatch):
    model, seen = model_of(small()), []

    def in_one_piece(call):
        return lambda *args, **kwargs: seen.append(1) or call(*args, **kwargs)

    monkeypatch.setattr(compiled, "in_one_piece", in_one_piece)
    [batch] = batches(small(), 9)
    with CompiledParts(model).running(batch):
        model(batch)
    assert len(seen) == len(parts_of(model))
    model(batch)
    assert len(seen) == len(parts_of(model))
    assert all(module._compiled_call_impl is None for module in model.modules())


def test_kinds_of_batches_beyond_a_few_are_computed_as_they_are(monkeypatch):
    monkeypatch.setattr(compiled, "in_one_piece", lambda call: call)
    model, given = model_of(shop()), batches(shop(), *([1] * 40))
    parts, compiled_kinds = CompiledParts(model), []
    for batch in given:
        with parts.running(batch):
            if model.head._compiled_call_impl is not None:
                compiled_kinds.append(kind_of(batch))
    assert len({kind_of(batch) for batch in given}) > MOST_KINDS
    assert len({*compiled_kinds}) == MOST_KINDS


class Halves(ContextualEncoder):
    """An encoder of somebody's own."""

    def forward(self, cells_RCD):
        return cells_RCD.mean(1) / 2


TransformerFactory.register_encoder("halves", Halves, override=True)
HALVES, TABNET = CustomConfig(name="halves"), TabNetConfig()


@pytest.mark.parametrize(
    ("config", "part", "reason"),
    [
        ({"experts": ExpertsConfig(experts=2)}, "refine", "routers are listened to"),
        ({"tables": {"orders": TableConfig(encoder=TABNET)}}, "database", "TabNet's steps"),
        ({"tables": {"orders": TableConfig(encoder=HALVES)}}, "database", "not the library's own"),
        ({"tables": {"orders": TableConfig(checkpoint=True)}}, "database", "recomputes"),
        ({"refinement": RefinementConfig(sample_cycles=True)}, "refine", "drawn anew"),
    ],
)
def test_a_part_that_is_not_compiled_says_why(config, part, reason):
    told = {own.name: own.refusals for own in parts_of(model_of(small(), **config))}
    assert [name for name, why in told.items() if why] == [part]
    assert reason in told[part][0]


def test_weights_in_parts_are_not_compiled():
    engine = Sharded.__new__(Sharded)
    with pytest.raises(ConfigurationError, match="goes with one device or ddp, got fsdp"):
        engine.losses(batches(small(), 3)[0], goal_of(small()), COMPILED)
