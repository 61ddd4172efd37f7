"""Refinement: cycles, halting, recycling, pairs, chains; what each of them may and may not do."""

import copy
from functools import partial

import pytest
import torch
from tiny import stirred
from tiny_exchange import (
    HEADS,
    PATH_K,
    PATH_Q,
    PATHS,
    WIDTH,
    changed,
    memory,
    part_of,
    state,
    without,
)

from nexus_model.exchange.pair import PairTrack
from nexus_model.exchange.refine import Refinement, RefinementConfig, relative_change
from nexus_model.exchange.relation.commnet import CommNetConfig
from nexus_model.exchange.relation.cross_contextual import CrossContextualConfig
from nexus_model.exchange.relation.gps import GpsConfig
from nexus_model.layers.choose_feed_forward import feed_forward_of
from nexus_model.layers.experts.layer import ExpertsConfig
from nexus_model.predict.fuse import build_fusion
from nexus_model.predict.fusion_kind import FusionKind

CONFIGS = [
    RefinementConfig(),
    RefinementConfig(relations=()),
    RefinementConfig(share_weights=False, cycles=3),
    RefinementConfig(pair_width=4),
    RefinementConfig(pair_width=4, relations=(CrossContextualConfig(top_k=1),)),
    RefinementConfig(halt_below=0.5, cycles=4),
    RefinementConfig(sample_cycles=True),
    RefinementConfig(relations=(CommNetConfig(), GpsConfig())),
]
every_refinement = pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))


def plain(config, experts=None, dropout=0.0):
    """A refinement as it starts."""
    think = partial(feed_forward_of(experts), WIDTH, 2 * WIDTH, dropout)
    return Refinement(config, WIDTH, HEADS, PATHS, think)


def refinement(config, experts=None):
    """A refinement none of whose weights is zero, the zeros of the pair's bias included."""
    return stirred(plain(config, experts)).eval()


@every_refinement
def test_a_sample_is_refined_the_same_whoever_shares_its_batch(config):
    refine, given, now = refinement(config), memory(), state()
    alone = refine(now[2:], part_of(given, [2]))
    torch.testing.assert_close(refine(now, given)[2:], alone)


def test_a_fresh_refinement_without_operators_lets_no_table_hear_another():
    refine = plain(RefinementConfig(relations=())).eval()
    before, after = (refine(now, memory()) for now in (state(), changed(state(), PATH_Q, 1)))
    torch.testing.assert_close(before[:, PATH_Q != 1], after[:, PATH_Q != 1])


@every_refinement
def test_a_gradient_reaches_every_parameter(config):
    refine = refinement(config)
    refine(state(), memory()).pow(3).sum().backward()
    assert [n for n, p in refine.named_parameters() if p.grad is None or not p.grad.any()] == []


@every_refinement
def test_a_configuration_comes_back_from_json_as_it_was(config):
    assert RefinementConfig.model_validate_json(config.model_dump_json()) == config


def test_refining_twice_is_refining_once_and_once_more():
    refine = refinement(RefinementConfig())
    once = refine(state(), memory(), cycles=1)
    assert torch.equal(refine(state(), memory(), cycles=2), refine(once, memory(), cycles=1))


def test_without_cycles_no_state_hears_of_another_table():
    refine, now = refinement(RefinementConfig()), state()
    rows = memory().rows_BKD.requires_grad_()
    found = refine(now, memory()._replace(rows_BKD=rows), cycles=0)
    assert torch.equal(found, now)
    assert not found.requires_grad


def chain():
    """Path 0 may read 1 and 1 may read 2; 0 never reads 2 itself."""
    never = -torch.inf
    return torch.tensor([[never, 0.0, never], [never, never, 0.0], [never, never, never]])


@pytest.mark.parametrize(("cycles", "arrives"), [(1, False), (2, True)])
def test_a_signal_takes_one_cycle_per_table_of_a_chain(cycles, arrives):
    refine, now = refinement(RefinementConfig()), state()
    given = memory()._replace(context_PP=chain())
    other = given._replace(rows_BKD=changed(given.rows_BKD, PATH_K, 2))
    moved = refine(now, other, cycles=cycles) - refine(now, given, cycles=cycles)
    assert bool(moved[:, PATH_Q == 0].abs().max() > 1e-5) is arrives


def test_separate_weights_are_one_set_per_cycle_and_shared_ones_a_single_set():
    separate = plain(RefinementConfig(share_weights=False, cycles=3))
    shared = plain(RefinementConfig(cycles=3))
    assert (len(separate.blocks), len(shared.blocks)) == (3, 1)
    with pytest.raises(ValueError, match="at most 3"):
        separate(state(), memory(), cycles=4)


def test_a_sample_that_hardly_changes_stops_alone():
    config = RefinementConfig(halt_below=0.3, cycles=6)
    refine, given, now = refinement(config), memory(), state()
    now = now * torch.tensor([1.0, 40.0, 4000.0])[:, None, None]
    used = []
    refine.tap_cycles.register_forward_hook(lambda _m, _i, cycles_B: used.append(cycles_B))
    found = refine(now, given)
    assert used[0].tolist()[2] == 1.0
    assert used[0].tolist()[0] > 1.0
    short = refine(now[2:], part_of(given, [2]), cycles=1)
    torch.testing.assert_close(found[2:], short)


def test_halting_below_nothing_is_never_halting():
    refine = refinement(RefinementConfig(halt_below=1e-30, cycles=4))
    free = refinement(RefinementConfig(cycles=4))
    free.load_state_dict(refine.state_dict())
    assert torch.equal(refine(state(), memory()), free(state(), memory()))


def test_change_is_relative():
    first = relative_change(state() * 1.1, state())
    torch.testing.assert_close(first, torch.full((3,), 0.1))


def test_recycling_draws_the_cycles_and_keeps_the_gradient_of_the_last_alone():
    config = RefinementConfig(sample_cycles=True, cycles=4)
    refine = refinement(config).train()
    found = set()
    for seed in range(12):
        torch.manual_seed(seed)
        found.add(round(float(refine(state(), memory()).sum().detach()), 3))
    assert len(found) == 4
    now = state().requires_grad_()
    refine(now, memory()).sum().backward()
    assert now.grad.abs().max() > 0


def test_recycled_training_ends_where_prediction_does():
    refine = refinement(RefinementConfig(sample_cycles=True, cycles=1)).train()
    again = copy.deepcopy(refine).eval()
    assert torch.equal(refine(state(), memory()), again(state(), memory()))


def test_pairs_start_as_no_bias_and_become_one():
    track = PairTrack(WIDTH, 4, HEADS)
    pair = track(track.start(state(), PATHS), state(), memory())
    assert not track.logits(pair).any()
    stirred(track)
    logits_BHPP = track.logits(pair)
    assert logits_BHPP.shape == (3, HEADS, PATHS, PATHS)
    assert logits_BHPP.std() > 0.01
    torch.testing.assert_close(track.logits(pair[1:2]), logits_BHPP[1:2])


@pytest.mark.parametrize("part", ["own", "relations.0", "pair", "think"])
def test_no_block_is_dead(part):
    refine = refinement(RefinementConfig(pair_width=4))
    before = refine(state(), memory())
    stirred(refine.blocks[0].get_submodule(part), seed=9)
    assert (refine(state(), memory()) - before).abs().max() > 1e-4


@pytest.mark.parametrize("form", ["sparse", "soft"])
def test_experts_think_in_the_refinement(form):
    refine = refinement(RefinementConfig(), ExpertsConfig(experts=4, form=form))
    before = refine(state(), memory())
    stirred(refine.blocks[0].think.router, seed=9)
    assert (refine(state(), memory()) - before).abs().max() > 1e-5


@pytest.mark.parametrize("kind", list(FusionKind))
def test_a_missing_table_contributes_exactly_zero_to_the_fusion(kind):
    fuse = stirred(build_fusion(kind, WIDTH, HEADS, len(PATH_Q)))
    keep_BQ = without(memory(), 1).keep_BQ
    assert torch.equal(fuse(changed(state(), PATH_Q, 1), keep_BQ), fuse(state(), keep_BQ))
    assert (fuse(state(), keep_BQ) - fuse(state(), memory().keep_BQ)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", list(FusionKind))
def test_every_table_and_every_parameter_counts_in_the_fusion(kind):
    fuse = stirred(build_fusion(kind, WIDTH, HEADS, len(PATH_Q)))
    fuse(state(), memory().keep_BQ).pow(3).sum().backward()
    assert [n for n, p in fuse.named_parameters() if p.grad is None or not p.grad.any()] == []
    alone = fuse(state()[1:2], memory().keep_BQ[1:2])
    torch.testing.assert_close(fuse(state(), memory().keep_BQ)[1:2], alone)


def test_the_parts_of_an_additive_answer_do_not_mix_tables():
    fuse = stirred(build_fusion(FusionKind.ADDITIVE, WIDTH, HEADS, len(PATH_Q)))
    keep_BQ, now = memory().keep_BQ, state()
    one = fuse(changed(now, PATH_Q, 0), keep_BQ) - fuse(now, keep_BQ)
    other = changed(now, PATH_Q, 1)
    both = fuse(changed(other, PATH_Q, 0), keep_BQ) - fuse(other, keep_BQ)
    torch.testing.assert_close(one, both, atol=1e-5, rtol=0)
    parts_BQD = fuse.parts(now, keep_BQ)
    torch.testing.assert_close(parts_BQD.sum(1), fuse(now, keep_BQ))
