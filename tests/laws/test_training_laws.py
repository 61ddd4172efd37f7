"""Laws of a training step: what changes how it is computed never changes what is learned."""

import numpy as np
import pytest
import torch
from tiny import stirred, tiny_model
from tiny_training import CONFIG, goal_of, shop

from nexus_model.encode.choose import TableConfig
from nexus_model.encode.tabnet import TabNetConfig, collect_steps, sparsity_penalty
from nexus_model.layers.experts.balance import balance_loss, collect_routings, z_loss
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.tokenize.batch import build_batch
from nexus_model.tokenize.move import moved
from nexus_model.train.config import Batches, Precision
from nexus_model.train.engine import Single
from nexus_model.train.loader import NexusLoader, rows_read
from nexus_model.train.observe import LoadCounts, load_variation
from nexus_model.train.step import accumulate_gradients, batch_losses

PLAIN = CONFIG.model_copy(update={"balance_weight": 0.0, "z_weight": 0.0})
EXPERTS = ExpertsConfig(experts=4)
NAMES = ("customers", "orders", "products", "tickets")


def batch_of(chosen_B):
    """Some samples of the tiny shop."""
    return build_batch(shop().tensors, np.asarray(chosen_B), 2)


def gradients(model, parts, config=PLAIN):
    """Gradients by name after accumulating over the parts, and the loss."""
    model.zero_grad(set_to_none=True)
    loss, _ = accumulate_gradients(Single(model), parts, goal_of(shop()), config)
    found = {name: w.grad for name, w in model.named_parameters() if w.grad is not None}
    return found, loss


def close(one, other, tolerance):
    """Whether two sets of gradients agree and are not nothing."""
    assert one.keys() == other.keys()
    assert any(gradient.abs().max() > 1e-3 for gradient in one.values())
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("cuts", [[5], [3, 11], [1, 2, 3, 4]])
def test_small_batches_of_any_size_give_the_gradient_of_the_whole(cuts):
    model = stirred(tiny_model(shop())).double()
    whole, loss = gradients(model, [batch_of(range(16))])
    parts, in_parts = gradients(model, [batch_of(p) for p in np.split(np.arange(16), cuts)])
    close(parts, whole, 1e-6)
    assert in_parts == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("experts", [None, EXPERTS])
@pytest.mark.parametrize("encoder", [None, TabNetConfig()])
def test_a_recomputed_encoder_gives_the_same_loss_and_gradients(experts, encoder):
    def model(*, checkpoint):
        config = TableConfig(checkpoint=checkpoint, experts=experts, unknown_rate=0.2)
        config = config.model_copy(update={"encoder": encoder} if encoder else {})
        tables = dict.fromkeys(NAMES, config)
        return stirred(tiny_model(shop(), tables=tables, dropout=0.2)).train()

    def found(*, checkpoint):
        torch.manual_seed(3)
        return gradients(model(checkpoint=checkpoint), [batch_of(range(16))], CONFIG)

    (kept, loss), (recomputed, again) = found(checkpoint=False), found(checkpoint=True)
    close(recomputed, kept, 1e-6)
    assert again == loss


def test_the_added_loss_is_what_the_taps_say():
    tables = {"orders": TableConfig(encoder=TabNetConfig(sparsity=0.5))}
    model = stirred(tiny_model(shop(), experts=EXPERTS, tables=tables))
    batch = batch_of(range(9))
    config = CONFIG.model_copy(update={"balance_weight": 2.0, "z_weight": 3.0})
    with collect_routings(model) as routings, collect_steps(model) as steps:
        model(batch)
    expected = sum(2 * balance_loss(r) + 3 * z_loss(r) for r in routings) / len(routings)
    expected = expected + sparsity_penalty(steps)
    found = batch_losses(model, batch, goal_of(shop()), config).auxiliary
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("weight", ["balance_weight", "z_weight"])
def test_each_weight_of_an_added_loss_moves_the_routers_gradient(weight):
    model = stirred(tiny_model(shop(), experts=EXPERTS))
    heavy = PLAIN.model_copy(update={weight: 1.0})
    plain, _ = gradients(model, [batch_of(range(9))])
    added, _ = gradients(model, [batch_of(range(9))], heavy)
    router = next(name for name in plain if name.endswith("router.weight_ED"))
    assert (plain[router] - added[router]).abs().max() > 1e-4


def test_without_experts_and_tabnet_nothing_is_added():
    found = batch_losses(tiny_model(shop()), batch_of([1, 2]), goal_of(shop()), CONFIG)
    assert found.auxiliary == 0


def test_loads_are_shares_of_all_choices():
    model, counts = stirred(tiny_model(shop(), experts=EXPERTS)), LoadCounts()
    with collect_routings(model) as routings:
        for part in ([1, 2, 3], [4, 5, 6, 7]):
            batch_losses(model, batch_of(part), goal_of(shop()), CONFIG, counts)
    chosen = torch.cat([routing.expert_NJ.flatten() for routing in routings])
    expected = torch.bincount(chosen, minlength=4) / len(chosen)
    ((layer, shares),) = counts.shares().items()
    assert shares == pytest.approx(expected.tolist())
    spread = expected.std(correction=0) / expected.mean()
    assert load_variation({layer: shares})[layer] == pytest.approx(spread.item(), rel=1e-5)


def test_half_precision_gives_nearly_the_same_loss_and_routers_stay_exact():
    model = stirred(tiny_model(shop(), experts=EXPERTS))
    config = CONFIG.model_copy(update={"precision": Precision.BF16})
    with collect_routings(model) as routings:
        found, loss = gradients(model, [batch_of(range(16))], config)
    _, exact = gradients(model, [batch_of(range(16))], CONFIG)
    # bfloat16 has three digits.
    assert loss == pytest.approx(exact, rel=0.05)
    assert loss != exact
    assert all(r.logits_NE.dtype == torch.float32 for r in routings)
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in found.values())


def test_a_batch_is_moved_whole():
    batch = batch_of([1, 2, 3])
    there = moved(batch, torch.device("meta"))
    assert there.tables["orders"].parents_RP.device.type == "meta"
    assert {path.age_N.device.type for path in there.paths} == {"meta"}
    assert moved(batch, torch.device("cpu")) is batch


@pytest.mark.parametrize("prefetch", [1, 3, 99])
def test_batches_made_ahead_are_the_batches_made_in_time(prefetch):
    def loader(ahead):
        tiny = shop()
        return NexusLoader(
            tiny.tensors, tiny.every_B, 16, shuffle=True, goal=goal_of(tiny), prefetch=ahead
        )

    ahead, in_time = list(loader(prefetch)), list(loader(0))
    assert len(ahead) == len(in_time) == len(loader(0)) == 5
    for one, other in zip(ahead, in_time, strict=True):
        assert torch.equal(one.label_B, other.label_B)
        assert torch.equal(one.tables["orders"].ids_R, other.tables["orders"].ids_R)


def test_a_loader_that_is_left_early_leaves_no_thread():
    import threading

    tiny, before = shop(), threading.active_count()
    batches = iter(NexusLoader(tiny.tensors, tiny.every_B, 2, goal=goal_of(tiny), prefetch=4))
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_a_loader_gives_every_sample_once_an_epoch_in_an_order_of_its_own():
    tiny = shop()
    loader = NexusLoader(tiny.tensors, tiny.every_B, 16, shuffle=True, goal=goal_of(tiny))
    first, second = loader.order(0), loader.order(1)
    assert sorted(first) == sorted(second) == tiny.every_B.tolist()
    assert not np.array_equal(first, second)
    assert np.array_equal(first, loader.order(0))
    assert [batch.samples for batch in loader] == [16, 16, 16, 16, 13]


def similar_loader(size, **told):
    """Batches of similar samples of the tiny shop."""
    tiny = shop()
    return NexusLoader(
        tiny.tensors, tiny.every_B, size, shuffle=Batches.SIMILAR, goal=goal_of(tiny), **told
    )


@pytest.mark.parametrize("size", [1, 3, 16, 1000])
def test_every_sample_is_in_one_batch_of_similar_ones(size):
    loader = similar_loader(size)
    for epoch in (0, 1):
        assert sorted(loader.order(epoch)) == shop().every_B.tolist()
    assert len(loader) == -(-len(shop().every_B) // size)
    assert loader.order(0).tolist() == similar_loader(size).order(0).tolist()
    assert size == 1000 or loader.order(0).tolist() != loader.order(1).tolist()


def test_similar_samples_need_less_padding_than_shuffled_ones():
    tiny, size = shop(), 8

    def padding(loader):
        parts = [rows_read(tiny.tensors, part_B) for part_B, _ in loader.epoch(0)]
        return sum(len(rows) * rows.max() - rows.sum() for rows in parts)

    shuffled = NexusLoader(tiny.tensors, tiny.every_B, size, shuffle=True, goal=goal_of(tiny))
    assert padding(similar_loader(size)) < 0.5 * padding(shuffled)


def test_rows_read_are_those_of_all_paths():
    tiny = shop()
    batch = batch_of(range(16))
    expected = sum(path.offsets_B.diff() for path in batch.paths)
    assert rows_read(tiny.tensors, np.arange(16)).tolist() == expected.tolist()
