"""Pruning: the asked share of the least scores becomes zero, and what is cut out is really gone."""

import copy
from functools import cache, partial

import pytest
import torch
from tiny import stirred, tiny_database, tiny_model
from torch import nn

from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.model import NexusFormer
from nexus_model.optimize.methods import Criterion
from nexus_model.optimize.narrow import cut, narrow_config, narrowed_config, parameters_of
from nexus_model.optimize.prune import (
    movement_scores,
    prunable,
    prune,
    share_left,
    still_scores,
    wanda_scores,
)
from nexus_model.optimize.student import student_config, taught
from nexus_model.predict.losses import task_loss
from nexus_model.schema import ConfigurationError, TaskKind
from nexus_model.tokenize.batch import build_batch


@cache
def tiny():
    return tiny_database()


def model(**config):
    return stirred(tiny_model(tiny(), **({"width": 64, "heads": 4} | config)))


def batch(rows=None):
    return build_batch(tiny().tensors, tiny().every_B[:rows], 2)


def make(config):
    return NexusFormer(config, tiny().tokenizer, tiny().recipe.paths, tiny().recipe.task).eval()


def tables():
    return [table.table for table in tiny().tokenizer.tables]


def loss(raw_BY, label_B):
    return task_loss(tiny().recipe.task, raw_BY, label_B, tiny().tokenizer.label)


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.71])
@pytest.mark.parametrize("criterion", [Criterion.MAGNITUDE, Criterion.RANDOM])
def test_the_asked_share_becomes_zero(amount, criterion):
    state = model().state_dict()
    pruned = prune(state, still_scores(state, criterion), amount)
    assert share_left(pruned) == pytest.approx(1 - amount, abs=1e-5)


def test_the_smallest_weights_of_all_matrices_go():
    state = model().state_dict()
    pruned = prune(state, still_scores(state, Criterion.MAGNITUDE), 0.3)
    gone = torch.cat([state[n][pruned[n] == 0].abs() for n in prunable(state)])
    left = torch.cat([state[n][pruned[n] != 0].abs() for n in prunable(state)])
    assert gone.max() <= left.min()


def test_head_routers_and_vectors_are_not_pruned():
    names = prunable(model(experts=ExpertsConfig(experts=3)).state_dict())
    assert names
    assert not any("head." in name or "router." in name for name in names)
    assert not any(name.endswith("bias") for name in names)


def test_pruning_changes_nothing_it_was_given():
    state = model().state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    prune(state, still_scores(state, Criterion.MAGNITUDE), 0.9)
    assert all(torch.equal(before[name], state[name]) for name in state)


@pytest.mark.parametrize("amount", [-0.1, 1.0, float("nan")])
def test_an_amount_that_is_no_share_is_refused(amount):
    state = model().state_dict()
    with pytest.raises(ValueError, match="amount"):
        prune(state, still_scores(state, Criterion.MAGNITUDE), amount)


def test_movement_is_minus_weight_times_slope():
    small = model(width=8, heads=2)
    scores = movement_scores(small, [batch(5)], loss)
    loss(small(batch(5)), batch(5).label_B).backward()
    name = "fuse.project.weight"
    weight = small.get_parameter(name)
    torch.testing.assert_close(scores[name], -weight.detach() * weight.grad)


def test_wanda_ranks_within_an_output_by_weight_times_input():
    linear = nn.Sequential(nn.Linear(3, 2, bias=False))
    linear[0].weight.data = torch.tensor([[1.0, -2.0, 3.0], [1.0, 1.0, 1.0]])
    scores = wanda_scores(linear, [torch.tensor([[9.0, 2.0, 1.0], [9.0, 0.0, 0.0]])])
    expected = torch.tensor([[2, 1, 0], [2, 1, 0]]) / 3
    torch.testing.assert_close(scores["0.weight"], expected)


def test_what_looks_at_samples_is_not_guessed_without():
    with pytest.raises(ValueError, match="samples"):
        still_scores(model().state_dict(), Criterion.WANDA)


@pytest.mark.parametrize("amount", [0.3, 0.5])
def test_the_asked_share_of_the_parameters_is_cut(amount):
    given = model()
    config = narrow_config(given.config, tables(), make, amount)
    smaller = cut(given, make(config))
    left = sum(p.numel() for p in smaller.parameters()) / sum(p.numel() for p in given.parameters())
    assert left == pytest.approx(1 - amount, abs=0.02)
    assert torch.isfinite(smaller(batch())).all()


def test_cutting_changes_nothing_it_was_given():
    given = model()
    before = copy.deepcopy(given.state_dict())
    cut(given, make(narrowed_config(given.config, tables(), 48, 0.5)))
    assert all(torch.equal(before[name], t) for name, t in given.state_dict().items())


def test_nothing_cut_is_the_same_model():
    given = model()
    same = cut(given, make(narrowed_config(given.config, tables(), 64, 1.0)))
    torch.testing.assert_close(same(batch()), given(batch()))


def test_dead_neurons_are_the_first_to_go():
    given = model()
    with torch.no_grad():
        for name, module in given.named_modules():
            if name.endswith("think"):
                module.down.weight[:, ::2] = 0
    refine = given.config.feed_forward.model_copy(update={"hidden_share": 0.5})
    smaller = cut(given, make(given.config.model_copy(update={"feed_forward": refine})))
    assert smaller.state_dict()["refine.blocks.0.think.down.weight"].shape[1] == 64
    torch.testing.assert_close(smaller(batch()), given(batch()))


def test_parts_of_heads_that_nobody_hears_are_the_first_to_go():
    given = model()
    attend = given.refine.blocks[0].own.attend
    with torch.no_grad():
        attend.query.weight.view(4, 16, 64)[:, 8:] = 0
    smaller = cut(given, make(narrowed_config(given.config, tables(), 32, 1.0)))
    kept = smaller.refine.blocks[0].own.attend.query.weight.view(4, 8, 32)
    assert (kept.abs().sum(-1) > 0).all()


def mixed(**config):
    return model(experts=ExpertsConfig(experts=6), **config)


def test_whole_experts_go_where_a_model_has_them():
    given = mixed()
    config = narrow_config(given.config, tables(), make, 0.3)
    smaller = cut(given, make(config))
    left = sum(p.numel() for p in smaller.parameters()) / sum(p.numel() for p in given.parameters())
    assert left == pytest.approx(0.7, abs=0.02)
    assert config.experts.experts < 6
    assert len(smaller.refine.blocks[0].think.up_EDF) == config.experts.experts
    assert torch.isfinite(smaller(batch())).all()


def test_of_a_mixture_nothing_cut_is_the_same_too():
    given = mixed()
    same = cut(given, make(narrowed_config(given.config, tables(), 64, 1.0)))
    torch.testing.assert_close(same(batch()), given(batch()))


def test_experts_that_say_nothing_are_the_first_to_go():
    given = mixed()
    experts = given.refine.blocks[0].think
    with torch.no_grad():
        experts.down_EFD[[1, 2, 4]] = 0
    smaller = cut(given, make(narrowed_config(given.config, tables(), 64, 0.5)))
    left = smaller.refine.blocks[0].think
    assert len(left.up_EDF) == 3
    torch.testing.assert_close(left.router.weight_ED, experts.router.weight_ED[[0, 3, 5]])
    torch.testing.assert_close(left.down_EFD, experts.down_EFD[[0, 3, 5]])


def test_as_many_experts_stay_as_compute_a_token():
    given = model(experts=ExpertsConfig(experts=4, chosen=3))
    assert narrowed_config(given.config, tables(), 64, 0.5).experts.experts == 3


def test_counting_parameters_builds_nothing():
    given = model()
    assert parameters_of(given.config, make) == sum(p.numel() for p in given.parameters())


def test_an_amount_no_width_comes_near_is_refused():
    with pytest.raises(ConfigurationError, match="amount"):
        narrow_config(model(width=8, heads=2).config, tables(), make, 0.97)


def test_a_student_has_at_most_its_share():
    config = model().config
    student = student_config(config, tables(), make, 0.1)
    assert parameters_of(student, make) <= 0.1 * parameters_of(config, make)
    assert make(student)(batch()).shape == (batch().samples, 1)


def test_a_student_that_cannot_be_that_small_is_refused():
    with pytest.raises(ConfigurationError, match="student"):
        student_config(model(width=8, heads=2).config, tables(), make, 0.01)


def test_only_the_labels_asked_for_are_taught():
    tensors, chosen_B = tiny().tensors, tiny().samples("train")
    answer_B = torch.full((len(chosen_B),), 0.25).numpy()
    lesson = partial(taught, tensors, chosen_B, answer_B)
    label_B = lesson(TaskKind.BINARY, 0.5).label_B
    assert label_B[chosen_B] == pytest.approx(tensors.label_B[chosen_B] / 2 + 0.125)
    others_B = tiny().samples("validation")
    assert label_B[others_B] == pytest.approx(tensors.label_B[others_B])
    with pytest.raises(ConfigurationError, match="multiclass"):
        lesson(TaskKind.MULTICLASS, 0.5)
