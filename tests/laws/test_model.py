"""NexusFormer on the tiny database: what a prediction may depend on, and that no part is dead."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import (
    DATABASE,
    DAYS,
    SIZES,
    START,
    Tiny,
    aligned_database,
    moment,
    raw_table,
    stirred,
    tiny_database,
    tiny_frames,
    tiny_model,
    tiny_recipe,
)

from nexus_model.align.assemble import sample_times
from nexus_model.align.index import SampleTimes
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.apply import predict_samples
from nexus_model.encode.choose import FTTransformerConfig, TableConfig
from nexus_model.encode.time_series import TimeSeriesConfig
from nexus_model.explain.attention_flow import attention_flow
from nexus_model.schema import DatabaseSpec, TaskKind
from nexus_model.tokenize.batch import build_batch
from nexus_model.tokenize.prepare import fit_tokenizer, index_paths, task_tensors

TABLES = {
    "orders": TableConfig(encoder=TimeSeriesConfig(heads=2)),
    "products": TableConfig(encoder=FTTransformerConfig(heads=2)),
}
CUTOFF = 120


@cache
def shop(static=False):
    """The tiny database, made once."""
    return tiny_database(static=static)


def model(tiny=None, **config):
    """A model none of whose weights is zero, each kind of encoder in it."""
    return stirred(tiny_model(tiny or shop(), tables=TABLES, **config))


def predicted(net, tiny, samples=None, size=512):
    """Predictions of the chosen samples, or of all."""
    chosen = tiny.every_B if samples is None else np.array(samples)
    recipe = tiny.recipe
    return predict_samples(
        net, tiny.tensors, chosen, recipe.task, tiny.tokenizer.label, batch_size=size
    )


def at_cutoff(frames, day=CUTOFF):
    """Customers of other frames asked at one moment, read by the shop's own tokenizer."""
    tiny = shop()
    con = aligned_database(tiny.recipe, frames, moment(day))
    count = len(frames["customers"]["id"])
    time = (moment(day) - START).days + 18262
    moment_B = np.full(count, time * 86_400_000_000)
    times = SampleTimes(np.arange(count), moment_B, moment_B)
    indexes = index_paths(con, tiny.recipe, times)
    tensors = task_tensors(con, tiny.recipe, tiny.tokenizer, times, indexes)
    return tiny._replace(tensors=tensors, label_B=np.zeros(count))


def edited(table, row, **values):
    """The tiny frames with values of one row changed."""
    frames = tiny_frames()
    for column, value in values.items():
        frames[table][column][row] = value
    return frames


def visible_orders():
    """Places in the frame of the orders of customers at the cutoff, in order of time, by key."""
    orders, found = tiny_frames()["orders"], {}
    for place in np.argsort([str(time) for time in orders["placed_at"]], kind="stable"):
        if orders["placed_at"][place] <= moment(CUTOFF):
            found.setdefault(orders["customer_id"][place], []).append(int(place))
    return found


@settings(max_examples=12)
@given(chosen=st.lists(st.integers(0, 76), min_size=1, max_size=7), size=st.integers(1, 5))
def test_a_sample_is_predicted_the_same_alone_or_in_any_batch(chosen, size):
    net, tiny = model(), shop()
    alone = np.concatenate([predicted(net, tiny, [sample]) for sample in chosen])
    np.testing.assert_allclose(predicted(net, tiny, chosen, size), alone, atol=1e-5)


def test_padding_is_not_read():
    # Six samples of one batch: the one without orders is padded to the longest history.
    net, tiny = model(), shop()
    longest = predicted(net, tiny, [0, 76, 75, 74, 73, 72])[0]
    assert longest == pytest.approx(predicted(net, tiny, [0])[0], abs=1e-5)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_gradient_reaches_every_parameter(kind):
    tiny = tiny_database(kind)
    # From an order item it is three foreign keys to the brand of a brand.
    net = model(tiny, parent_hops=3)
    batch = build_batch(tiny.tensors, tiny.every_B, net.config.parent_hops)
    net(batch).pow(3).sum().backward()
    lost = {n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    # No cutoff tells when an undated item was ordered, so it never reads its order; no past label
    # is missing.
    unread = {"database.read_parents.projections.order_items:0.weight"}
    if kind.is_number:
        unread.add("database.tables.label_history_again.cells.numerical.line.missing_CD")
    assert lost == unread


def test_float64_agrees_with_float32():
    net, tiny = model(), shop()
    exact = copy.deepcopy(net).double()
    batch = build_batch(tiny.tensors, tiny.every_B, 2)
    assert exact(batch).dtype is torch.float64
    torch.testing.assert_close(net(batch).double(), exact(batch), atol=1e-4, rtol=0)


def test_the_same_seed_gives_the_same_model_and_another_another():
    tiny = shop()
    first, again, other = (tiny_model(tiny, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.hidden.weight"], other["head.hidden.weight"])


def test_the_batch_is_left_alone():
    net, tiny = model(), shop()
    batch = build_batch(tiny.tensors, tiny.every_B, 2)
    before = copy.deepcopy(batch)
    net(batch)
    for name, rows in batch.tables.items():
        assert all(torch.equal(x, y) for x, y in zip(rows, before.tables[name], strict=True))
    for path, other in zip(batch.paths, before.paths, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(path, other, strict=True))


def test_predicting_leaves_the_model_as_it_was():
    net, tiny = model(dropout=0.4).train(), shop()
    before = copy.deepcopy(net.state_dict())
    assert (predicted(net, tiny) == predicted(net, tiny)).all()
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("kind", list(TaskKind))
def test_predictions_have_the_form_of_the_task(kind):
    tiny = tiny_database(kind)
    found = predicted(model(tiny), tiny)
    if kind is TaskKind.MULTICLASS:
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    assert found.shape == ((77, 3) if tiny.recipe.task.outputs == 3 else (77,))
    assert np.isfinite(found).all()


PARTS = [
    *(f"database.tables.{name}" for name in shop().recipe.database.names),
    *(f"paths.{number}" for number in range(len(shop().recipe.paths))),
    "database.read_parents.projections.orders:1",
    "database.read_parents.projections.order_items:1",
    "database.read_parents.projections.products:0",
    "database.read_parents.norms.products",
    "paths.1.age",
    "paths.1.history",
    "paths.1.norm",
    "paths.1.summarize.project",
    "refine.blocks.0.own.attend",
    "refine.blocks.0.relations.0.attention.attend",
    "refine.blocks.0.think",
    "fuse.attend",
    "fuse.project",
    "head.hidden",
]


@pytest.mark.parametrize("part", PARTS)
def test_no_part_is_dead(part):
    net, tiny = model(), shop()
    before = predicted(net, tiny)
    stirred(net.get_submodule(part), seed=9)
    assert np.abs(predicted(net, tiny) - before).max() > 1e-5


def test_without_cycles_the_tables_do_not_talk():
    net, tiny = model(), shop()
    batch = build_batch(tiny.tensors, tiny.every_B, 2)
    before = net(batch, cycles=0)
    stirred(net.refine, seed=9)
    assert torch.equal(net(batch, cycles=0), before)
    assert not model(cycles=0).refine.blocks


def test_a_second_cycle_is_another_answer():
    tiny, once, twice = shop(), model(cycles=1), model(cycles=2)
    twice.load_state_dict(once.state_dict())
    assert np.abs(predicted(once, tiny) - predicted(twice, tiny)).max() > 1e-4


def test_no_table_reads_itself_across_and_every_table_reads_some_other():
    net, tiny = model(cycles=3), shop()
    flow = attention_flow(net, tiny.tensors, tiny.every_B)
    found = np.array(flow.cycles)
    assert flow.paths == tuple(path.name for path in tiny.recipe.paths)
    assert found.shape == (3, 8, 8)
    assert (found[:, range(8), range(8)] == 0).all()
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_looking_at_the_attention_changes_no_prediction():
    net, tiny = model(), shop()
    before = predicted(net, tiny)
    attention_flow(net, tiny.tensors, tiny.every_B[:5])
    assert (predicted(net, tiny) == before).all()


def test_rows_later_than_the_cutoff_change_no_prediction():
    net, frames = model(), tiny_frames()
    for table, time, column in (
        ("orders", "placed_at", "total"),
        ("tickets", "opened_at", "customer_id"),
        ("prices", "set_at", "level"),
    ):
        times = frames[table][time]
        columns = frames[table][column]
        columns[:] = [7 if t > moment(CUTOFF) else v for t, v in zip(times, columns, strict=True)]
    before = predicted(net, at_cutoff(tiny_frames()))
    assert (predicted(net, at_cutoff(frames)) == before).all()


def test_the_order_of_input_rows_changes_no_prediction():
    frames = tiny_frames()
    for table in frames.values():
        for column in table:
            table[column] = table[column][::-1]
    net = model()
    assert (predicted(net, at_cutoff(frames)) == predicted(net, at_cutoff(tiny_frames()))).all()


@pytest.mark.parametrize("place", [0, 1, 2], ids=["oldest", "second", "third"])
def test_every_child_row_counts(place):
    net, before = model(), predicted(model(), at_cutoff(tiny_frames()))
    customer, orders = max(visible_orders().items(), key=lambda found: len(found[1]))
    assert 3 <= len(orders) <= 5
    after = predicted(net, at_cutoff(edited("orders", orders[place], total=90.0)))
    assert abs(after[customer - 1] - before[customer - 1]) > 1e-5


def test_a_child_row_moved_in_time_counts():
    net, before = model(), predicted(model(), at_cutoff(tiny_frames()))
    customer, orders = max(visible_orders().items(), key=lambda found: len(found[1]))
    after = predicted(net, at_cutoff(edited("orders", orders[0], placed_at=moment(CUTOFF))))
    assert abs(after[customer - 1] - before[customer - 1]) > 1e-5


def test_a_ticket_more_concerns_its_own_customer_alone():
    net, frames = model(), tiny_frames()
    for column, value in {"id": 99, "customer_id": 4, "body": "lost again"}.items():
        frames["tickets"][column].append(value)
    frames["tickets"]["opened_at"].append(moment(CUTOFF - 1))
    moved = np.abs(predicted(net, at_cutoff(frames)) - predicted(net, at_cutoff(tiny_frames())))
    assert moved[3] > 1e-4
    assert np.delete(moved, 3).max() < 1e-6


def test_a_customer_not_yet_known_leaves_everybody_else_alone():
    sizes = SIZES | {"customers": 0}
    assert len(predicted(model(), at_cutoff(tiny_frames(sizes=sizes)))) == 0


@pytest.mark.parametrize("table", [name for name in SIZES if name != "customers"])
def test_an_empty_table_gives_a_finite_prediction(table):
    tiny = at_cutoff(tiny_frames(sizes=SIZES | {table: 0}))
    found = predicted(model(), tiny)
    assert found.shape == (11,)
    assert np.isfinite(found).all()


def test_everything_empty_but_the_entity_gives_a_finite_prediction():
    sizes = dict.fromkeys(SIZES, 0) | {"customers": 11}
    assert np.isfinite(predicted(model(), at_cutoff(tiny_frames(sizes=sizes), DAYS))).all()


def test_a_model_trained_on_an_empty_table_is_finite():
    tiny = tiny_database(frames=tiny_frames(sizes=SIZES | {"tickets": 0, "shops": 0}))
    assert np.isfinite(predicted(model(tiny), tiny)).all()


def test_a_static_task_is_predicted():
    tiny = shop(static=True)
    found = predicted(model(tiny), tiny)
    assert found.shape == (11,)
    assert ((found > 0) & (found < 1)).all()


def test_a_single_table_is_a_database_too():
    brands = DATABASE["brands"].model_copy(update={"foreign_keys": ()})
    database = DatabaseSpec(tables=(brands,))
    task = tiny_recipe(static=True).task.model_copy(update={"entity_table": "brands"})
    plans = tuple(PathPlan(path=p, max_rows=1) for p in find_paths(database, "brands", 2))
    recipe = Recipe(raw=(raw_table(brands),), database=database, task=task, plans=plans)
    con = aligned_database(recipe, {"brands": tiny_frames()["brands"]})
    times, label_B = sample_times(np.arange(5), None), np.arange(5) % 2.0
    indexes = index_paths(con, recipe, times)
    tokenizer = fit_tokenizer(con, recipe, times, indexes, label_B, label_B > -1)
    tensors = task_tensors(con, recipe, tokenizer, times, indexes, label_B)
    tiny = Tiny(con, recipe, times, indexes, label_B, label_B, tokenizer, tensors)
    net = stirred(tiny_model(tiny))
    assert np.isfinite(predicted(net, tiny)).all()
    assert not np.any(attention_flow(net, tensors, tiny.every_B).cycles)
