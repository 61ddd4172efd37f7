"""Laws of further labels: they are learned from, they cost nothing where they are not known, and
nobody reads them.
"""

import numpy as np
import pytest
import torch
from tiny import stirred, tiny_model
from tiny_training import CONFIG, also_tasks, fresh, goal_of, run, same, shop, shop_also, weights

from nexus_model.apply import predict_also, predict_samples
from nexus_model.model import own_weights
from nexus_model.predict.fusion_kind import FusionKind
from nexus_model.predict.losses import known_loss, task_loss
from nexus_model.schema import DataError, TaskKind, TrainingError
from nexus_model.tokenize.also import fit_also, open_also, write_also
from nexus_model.tokenize.batch import build_batch
from nexus_model.train.carry import carry_weights
from nexus_model.train.engine import Single
from nexus_model.train.loader import NexusLoader
from nexus_model.train.loop import new_state
from nexus_model.train.state import load_state, save_state
from nexus_model.train.step import accumulate_gradients, train_step
from nexus_model.train.trainer import NexusFlowTrainer

REGRESSION, MULTICLASS = TaskKind.REGRESSION, TaskKind.MULTICLASS
every_kind = pytest.mark.parametrize("kind", list(TaskKind))
TRUNK = ("database", "paths", "refine", "fuse")


def model_of(tiny, **config):
    """A model with a head for every further label, in float64, nothing hidden behind a zero."""
    return stirred(tiny_model(tiny, also=also_tasks(tiny), **config)).double()


def batch_of(tiny, chosen_B):
    """Some samples."""
    return build_batch(tiny.tensors, np.asarray(chosen_B), 2)


def unknown(tiny):
    """The same samples, no further label of any of them known."""
    also = tuple(own._replace(label_B=own.label_B * np.nan) for own in tiny.tensors.also)
    return tiny._replace(tensors=tiny.tensors._replace(also=also))


def gradients(model, parts, goal):
    """Gradients by name after accumulating over the parts, and both losses."""
    model.zero_grad(set_to_none=True)
    losses = accumulate_gradients(Single(model), parts, goal, CONFIG)
    found = {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}
    return found, losses


@every_kind
def test_every_head_moves_the_trunk_and_itself(kind):
    tiny = shop_also(kind)
    batch, goal = batch_of(tiny, range(9)), goal_of(tiny)
    model = model_of(tiny)
    both, _ = gradients(model, [batch], goal)
    one, _ = gradients(model, [batch], goal.model_copy(update={"also": ()}))
    for part in TRUNK:
        assert any(not both[name].equal(one[name]) for name in one if name.startswith(part)), part
    heads = {name for name in both if name.startswith("also_heads.")}
    assert heads == both.keys() - one.keys()
    assert all(both[name].abs().max() > 0 for name in heads)
    assert all(both[name].equal(one[name]) for name in one if name.startswith("head."))


def test_labels_that_nobody_knows_leave_exactly_the_gradient_of_one_task():
    tiny = unknown(shop_also(REGRESSION, MULTICLASS))
    model, alone = model_of(tiny), model_of(shop())
    alone.load_state_dict(own_weights(model))
    found, losses = gradients(model, [batch_of(tiny, range(9))], goal_of(tiny))
    one, alone_losses = gradients(alone, [batch_of(shop(), range(9))], goal_of(shop()))
    assert all(found[name].equal(one[name]) for name in one)
    assert all(not found[name].any() for name in found.keys() - one.keys())
    assert losses == alone_losses


@every_kind
def test_an_unknown_label_adds_nothing_and_a_known_one_its_share(kind):
    own = shop_also(kind).tensors.also[0]
    task, scale = own.goal.task, own.goal.scale
    label_B = torch.from_numpy(own.label_B[:9])
    raw_BY = torch.randn(9, task.outputs, generator=torch.Generator().manual_seed(1)).double()
    known_B = ~label_B.isnan()
    expected = task_loss(task, raw_BY[known_B], label_B[known_B], scale) * known_B.sum() / 9
    found = known_loss(task, raw_BY.requires_grad_(), label_B, scale)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    found.backward()
    assert not raw_BY.grad[~known_B].any()
    assert raw_BY.grad[known_B].abs().sum(1).min() > 0


def test_every_member_of_an_ensemble_learns_what_is_known():
    tiny = shop_also(REGRESSION)
    own = tiny.tensors.also[0]
    label_B = torch.from_numpy(own.label_B[:6])
    raw_BY = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).double()
    members = [
        known_loss(own.goal.task, raw_BY[:, [at]], label_B, own.goal.scale) for at in range(4)
    ]
    found = known_loss(own.goal.task, raw_BY, label_B, own.goal.scale)
    assert found.item() == pytest.approx(torch.stack(members).mean().item(), rel=1e-12)


@pytest.mark.parametrize("cuts", [[5], [3, 8], [1, 2, 3, 4]])
def test_small_batches_give_the_gradient_of_the_whole_however_labels_are_missing(cuts):
    tiny = shop_also(REGRESSION, TaskKind.BINARY)
    model, goal = model_of(tiny), goal_of(tiny)
    whole, losses = gradients(model, [batch_of(tiny, range(11))], goal)
    parts = [batch_of(tiny, part_B) for part_B in np.split(np.arange(11), cuts)]
    found, in_parts = gradients(model, parts, goal)
    assert found.keys() == whole.keys()
    for name in whole:
        torch.testing.assert_close(found[name], whole[name], rtol=1e-6, atol=1e-6)
    assert in_parts == pytest.approx(losses, rel=1e-6)


def test_a_weight_is_how_much_a_further_label_counts():
    tiny = shop_also(REGRESSION)
    model, batch, goal = model_of(tiny), batch_of(tiny, range(9)), goal_of(tiny)
    once, (_, added) = gradients(model, [batch], goal)
    doubled = tuple(own.model_copy(update={"weight": 2.0}) for own in goal.also)
    twice, (_, more) = gradients(model, [batch], goal.model_copy(update={"also": doubled}))
    assert added > 0
    assert more == pytest.approx(2 * added)
    name = "also_heads.0.out.weight"
    torch.testing.assert_close(twice[name], 2 * once[name])


def test_no_answer_depends_on_a_label():
    tiny = shop_also(REGRESSION, MULTICLASS)
    model = model_of(tiny)
    for own, other in zip(
        model.answers(batch_of(tiny, range(9))),
        model.answers(batch_of(unknown(tiny), range(9))),
        strict=True,
    ):
        assert own.equal(other)


@pytest.mark.parametrize("config", [{}, {"head_members": 3}, {"fusion": FusionKind.ADDITIVE}])
def test_every_answer_is_the_same_whoever_shares_the_batch(config):
    tiny = shop_also(REGRESSION, MULTICLASS)
    model = model_of(tiny, **config)
    whole = model.answers(batch_of(tiny, range(9)))
    alone = model.answers(batch_of(tiny, [4]))
    members = config.get("head_members", 1)
    assert [raw_BY.shape[1] for raw_BY in whole] == [members, members, 3 * members]
    for one, many in zip(alone, whole, strict=True):
        torch.testing.assert_close(one[0], many[4], rtol=1e-7, atol=1e-7)


def test_each_head_gives_its_own_answer():
    tiny = shop_also(REGRESSION, MULTICLASS)
    model, batch = model_of(tiny), batch_of(tiny, range(5))
    before = model.answers(batch)
    assert before[0].equal(model(batch))
    stirred(model.also_heads[0], seed=7)
    after = model.answers(batch)
    assert [one.equal(other) for one, other in zip(before, after, strict=True)] == [
        True, False, True,
    ]  # fmt: skip


def test_further_heads_change_no_other_weight_that_is_drawn():
    tiny = shop_also(REGRESSION)
    drawn = own_weights(tiny_model(tiny, also=also_tasks(tiny)))
    assert same(drawn, tiny_model(shop()).state_dict())


def test_what_is_kept_answers_the_task_without_the_further_heads():
    tiny = shop_also(REGRESSION)
    model, kept = model_of(tiny), tiny_model(shop()).double()
    kept.load_state_dict(own_weights(model))
    task, scale, chosen_B = tiny.recipe.task, tiny.tokenizer.label, np.arange(7)
    ours, theirs = (
        predict_samples(one, shop().tensors, chosen_B, task, scale) for one in (model, kept)
    )
    np.testing.assert_array_equal(ours, theirs)


def test_a_further_answer_is_in_the_units_of_its_label():
    tiny = shop_also(REGRESSION, MULTICLASS)
    model, (money, often) = model_of(tiny), (own.goal for own in tiny.tensors.also)
    chosen_B = np.array([8, 2, 5])
    raw_BY = model.answers(batch_of(tiny, chosen_B))[1]
    expected = raw_BY[:, 0].detach().numpy() * money.scale.spread + money.scale.center
    found = predict_also(model, tiny.tensors, chosen_B, money, batch_size=2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    shares = predict_also(model, tiny.tensors, chosen_B, often)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    with pytest.raises(ValueError, match="further tasks are \\[\\], got 'also_regression'"):
        predict_also(tiny_model(shop()), tiny.tensors, chosen_B, money)


def test_a_training_that_was_killed_goes_on_with_its_further_heads(tmp_path):
    tiny, path = shop_also(REGRESSION), tmp_path / "a.safetensors"

    def keep(state):
        if state.progress.next_epoch == 2:
            save_state(path, state, CONFIG)

    whole, resumed = run(fresh(tiny), tiny, on_epoch=keep), fresh(tiny, seed=99)
    assert load_state(path, resumed, CONFIG)
    run(resumed, tiny)
    assert same(weights(resumed), weights(whole))
    assert any(name.startswith("also_heads.") for name in weights(whole))
    assert not load_state(path, fresh(), CONFIG)
    assert not load_state(path, fresh(shop_also(MULTICLASS)), CONFIG)


def test_a_further_label_is_learned_by_heart():
    tiny, config = shop_also(REGRESSION), CONFIG.model_copy(update={"warmup_steps": 0, "lr": 0.03})
    state = new_state(tiny_model(tiny, also=also_tasks(tiny)), config)
    batch, goal = batch_of(tiny, range(8)), goal_of(tiny)
    losses = [train_step(state, [batch], goal, config).auxiliary for _ in range(25)]
    assert losses[-1] < losses[0] / 2


def test_what_the_model_or_the_samples_lack_is_named():
    tiny = shop_also(REGRESSION)
    with pytest.raises(TrainingError, match="'also_regression',\\), the model answers \\(\\)"):
        run(fresh(), tiny)
    bare = tiny._replace(tensors=shop().tensors)
    loader = NexusLoader(bare.tensors, bare.samples("train"), 16, goal=goal_of(tiny))
    with pytest.raises(TrainingError, match="the samples have labels of \\(\\)"):
        NexusFlowTrainer(model_of(tiny), CONFIG).train(loader, loader)


def test_further_heads_are_not_carried_to_another_task():
    tiny = shop_also(REGRESSION)
    learned, model = model_of(tiny).state_dict(), tiny_model(tiny, also=also_tasks(tiny))
    carried = carry_weights(model, tiny.tokenizer, learned, tiny.tokenizer)
    left = set(learned) - set(carried)
    assert left == {name for name in learned if name.startswith(("head.", "also_heads."))}


def test_the_scale_of_a_further_label_is_of_training_samples_that_have_it():
    task = shop_also(REGRESSION).tensors.also[0].goal.task
    label_B = np.array([1.0, np.nan, 3.0, 900.0])
    found = fit_also(task, label_B, np.array([True, True, True, False]), weight=0.5)
    assert (found.goal.scale.center, found.goal.scale.spread) == (2.0, 1.0)
    assert found.goal.weight == 0.5
    with pytest.raises(DataError, match="no training sample has a label of also_regression"):
        fit_also(task, label_B, np.array([False, True, False, False]))


def test_further_labels_come_back_from_their_files(tmp_path):
    labels = shop_also(REGRESSION, MULTICLASS).tensors.also
    write_also(tmp_path / "some", labels)
    found = open_also(tmp_path / "some")
    assert [own.goal for own in found] == [own.goal for own in labels]
    for own, kept in zip(labels, found, strict=True):
        np.testing.assert_array_equal(own.label_B, kept.label_B)
    write_also(tmp_path / "some", labels[:1])
    assert len(open_also(tmp_path / "some")) == 1
    write_also(tmp_path / "some", ())
    assert open_also(tmp_path / "some") == ()
    assert not list((tmp_path / "some").iterdir())
