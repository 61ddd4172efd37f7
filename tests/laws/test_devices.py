"""Shares of ranks: together they are the batch, each sample once, and cohorts stay whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import stirred, tiny_model
from tiny_training import CONFIG, goal_of, shop

from nexus_model.config import NexusConfig
from nexus_model.schema import ConfigurationError
from nexus_model.tokenize.cohorts import cohorts
from nexus_model.train import devices
from nexus_model.train.devices import Ranks, own_device, rank_of
from nexus_model.train.engine import Single
from nexus_model.train.loader import NexusLoader
from nexus_model.train.step import accumulate_gradients

WORLDS = (1, 2, 3, 5)
COHORT = NexusConfig(cohort=True)


def loader(size, model=None, samples=None, prefetch=0):
    """Batches of the tiny shop in random order."""
    chosen_B = shop().samples("train") if samples is None else samples
    return NexusLoader(
        shop().tensors, chosen_B, size, shuffle=True,
        goal=goal_of(shop()), model=model, seed=3, prefetch=prefetch,
    )  # fmt: skip


def own_samples(found, world_size):
    """By batch and rank, the samples that are a rank's own."""
    ranks = [Ranks(rank, world_size) for rank in range(world_size)]
    return [[found.own_share(part_B, rank) for rank in ranks] for part_B in found._parts(0)]


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(1, 9))
def test_a_cohort_is_with_one_rank_and_every_sample_with_some(numbers, world_size):
    number_B = np.unique(np.array(numbers, np.int64), return_inverse=True)[1]
    rank_B = rank_of(number_B, world_size)
    assert len(rank_B) == len(numbers)
    assert set(rank_B.tolist()) <= set(range(world_size))
    for number in set(number_B.tolist()):
        assert len({*rank_B[number_B == number].tolist()}) == 1


@given(st.integers(0, 60), st.integers(1, 9))
def test_shares_of_single_samples_differ_by_one_at_most(samples, world_size):
    sizes = [len(Ranks(rank, world_size).own(np.arange(samples))) for rank in range(world_size)]
    assert sum(sizes) == samples
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world_size", WORLDS)
@pytest.mark.parametrize("model", [None, COHORT], ids=["samples", "cohorts"])
@pytest.mark.parametrize("size", [1, 3, 16, 500])
def test_an_epoch_has_every_sample_in_one_share(world_size, model, size):
    found = loader(size, model)
    shares = own_samples(found, world_size)
    every = np.concatenate([own_B for batch in shares for own_B in batch])
    assert sorted(every.tolist()) == sorted(found.chosen_B.tolist())
    assert [np.concatenate(batch).size for batch in shares] == [len(b) for b in found._parts(0)]


def test_a_cohort_is_in_one_share():
    found = loader(16, COHORT)
    number_B = cohorts(shop().tensors.times, np.arange(len(shop().label_B)))
    for batch in own_samples(found, 3):
        held = [set(number_B[own_B].tolist()) for own_B in batch]
        assert sum(len(numbers) for numbers in held) == len(set().union(*held))


@pytest.mark.parametrize("prefetch", [0, 2])
def test_weights_of_the_shares_of_a_batch_are_one_together(prefetch):
    found = loader(16, prefetch=prefetch)
    for batch in zip(*(found.shares(1, Ranks(rank, 3)) for rank in range(3)), strict=True):
        assert sum(share.weight for share in batch) == pytest.approx(1)
        samples = [share.batch.samples for share in batch if share.weight]
        assert sum(samples) == len(batch[0].whole_B)


def test_a_rank_without_a_sample_keeps_step_with_one_that_counts_nothing():
    found = loader(2, samples=shop().samples("train")[:5])
    shares = [list(found.shares(0, Ranks(rank, 4))) for rank in range(4)]
    assert [len(own) for own in shares] == [3] * 4
    assert all(share.batch.samples == 1 for own in shares for share in own)
    assert sum(share.weight > 0 for own in shares for share in own) == 5


def test_gradients_of_shares_by_their_weights_are_that_of_the_batch():
    model = stirred(tiny_model(shop(), cycles=1)).double()
    whole, parted = ({} for _ in range(2))
    for ranks, into in (([Ranks()], whole), ([Ranks(rank, 3) for rank in range(3)], parted)):
        model.zero_grad(set_to_none=True)
        shares = [next(iter(loader(7).shares(0, rank))) for rank in ranks]
        for share in shares:
            accumulate_gradients(
                Single(model), [share.batch], goal_of(shop()), CONFIG, weights=[share.weight]
            )
        into |= {n: w.grad.clone() for n, w in model.named_parameters() if w.grad is not None}
    assert whole.keys() == parted.keys()
    assert all(torch.allclose(whole[name], parted[name], atol=1e-7) for name in whole)


def test_more_ranks_than_cuda_devices_are_refused(monkeypatch):
    monkeypatch.setattr(devices.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    assert own_device(1) == torch.device("cuda", 1)
    with pytest.raises(ConfigurationError, match="none is left for local rank 2"):
        own_device(2)
