"""Cohort attention: those asked together read each other, nobody else, in any order."""

import datetime as dt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import stirred, tiny_database, tiny_model
from tiny_training import CONFIG, goal_of

from nexus_model.align.index import NEVER, SampleTimes
from nexus_model.apply import predict_samples
from nexus_model.exchange.cohort import CohortAttention
from nexus_model.tokenize.batch import build_batch
from nexus_model.tokenize.cohorts import cohorts, whole_cohorts
from nexus_model.train.loader import NexusLoader

WIDTH = 8


def reader():
    """Cohort attention that does something, in float64."""
    return stirred(CohortAttention(WIDTH, 2, 2, dropout=0.0)).double().eval()


def known(count, seed=0):
    """What samples know, and their clocks."""
    made = torch.randn(count, WIDTH + 2, dtype=torch.float64, generator=torch.manual_seed(seed))
    return made[:, :WIDTH], made[:, WIDTH:]


def test_a_sample_reads_its_cohort_and_no_other():
    net, (fused_BD, clock_BF) = reader(), known(7)
    cohort_B = torch.tensor([0, 1, 0, 2, 1, 0, 2])
    whole_BD = net(fused_BD, clock_BF, cohort_B)
    for number in range(3):
        own = cohort_B == number
        alone = torch.zeros(int(own.sum()), dtype=torch.int64)
        alone_BD = net(fused_BD[own], clock_BF[own], alone)
        torch.testing.assert_close(whole_BD[own], alone_BD, rtol=0, atol=1e-12)
    for part in (0, 1):
        other = [fused_BD.clone(), clock_BF.clone()]
        other[part][0, 0] += 1
        moved = (net(*other, cohort_B) - whole_BD).abs().amax(1) > 0
        assert moved.tolist() == [True, False, True, False, False, True, False]


def test_the_order_of_samples_and_the_numbers_of_cohorts_do_not_matter():
    net, (fused_BD, clock_BF) = reader(), known(6)
    cohort_B, order = torch.tensor([0, 1, 0, 1, 1, 2]), torch.tensor([4, 0, 5, 2, 1, 3])
    found_BD = net(fused_BD[order], clock_BF[order], 7 - cohort_B[order])
    expected_BD = net(fused_BD, clock_BF, cohort_B)[order]
    torch.testing.assert_close(found_BD, expected_BD, rtol=0, atol=1e-12)


def test_the_size_of_a_cohort_is_known():
    net, one = reader(), known(1)
    five, cohort_B = [part.expand(5, -1) for part in one], torch.zeros(5, dtype=torch.int64)
    assert not torch.allclose(net(*five, cohort_B)[:1], net(*one, cohort_B[:1]))


def test_gradients_reach_every_parameter():
    net = reader()
    net(*known(5), torch.tensor([0, 0, 0, 1, 1])).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


def moments(pairs):
    """Samples with these cutoffs and moments of their data."""
    cutoff_B, as_of_B = (np.array(column) for column in zip(*pairs, strict=True))
    return SampleTimes(np.arange(len(pairs)), cutoff_B, as_of_B)


PAIRS = st.lists(st.tuples(st.sampled_from([3, 4, NEVER]), st.sampled_from([1, 2])), min_size=1)


@given(pairs=PAIRS)
def test_a_cohort_is_one_cutoff_and_one_moment_of_data(pairs):
    number_B = cohorts(moments(pairs), np.arange(len(pairs)))
    for one, first in zip(pairs, number_B, strict=True):
        together = [p for p, number in zip(pairs, number_B, strict=True) if number == first]
        expected = [one] if one[0] == NEVER else [p for p in pairs if p == one]
        assert together == expected


@given(pairs=PAIRS, size=st.integers(1, 9), seed=st.none() | st.integers(0, 5))
def test_parts_hold_every_sample_once_and_no_cohort_is_torn(pairs, size, seed):
    times, chosen_B = moments(pairs), np.arange(len(pairs))[::-1]
    drawn = None if seed is None else np.random.default_rng(seed)
    parts = whole_cohorts(times, chosen_B, size, drawn)
    assert len(parts) == len(whole_cohorts(times, chosen_B, size))
    assert sorted(np.concatenate(parts).tolist()) == sorted(chosen_B.tolist())
    assert all(len(part) for part in parts)
    number_B = dict(zip(chosen_B, cohorts(times, chosen_B), strict=True))
    seen = [set(map(number_B.get, part.tolist())) for part in parts]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_shuffled_parts_differ_from_epoch_to_epoch():
    tiny, model = tiny_database(), tiny_model(tiny_database(), cohort=True)
    loader = NexusLoader(
        tiny.tensors, tiny.samples("train"), 16, shuffle=True, goal=goal_of(tiny),
        model=model.config, seed=CONFIG.seed,
    )  # fmt: skip
    first, second = (loader.order(epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == sorted(tiny.samples("train"))
    assert first.tolist() != second.tolist()
    assert len(list(loader.epoch(3))) == len(loader)


def test_a_prediction_does_not_depend_on_the_size_of_batches_or_on_other_cohorts():
    tiny = tiny_database()
    model = stirred(tiny_model(tiny, cohort=True)).eval()
    every_B = np.arange(len(tiny.label_B))

    def predicted(chosen_B, size):
        arguments = (tiny.tensors, chosen_B, tiny.recipe.task, tiny.tokenizer.label)
        return predict_samples(model, *arguments, batch_size=size)

    whole = predicted(every_B, 512)
    np.testing.assert_allclose(predicted(every_B[::-1], 3), whole[::-1], atol=1e-6)
    one = np.flatnonzero(tiny.times.cutoff_B == tiny.times.cutoff_B[30])
    np.testing.assert_allclose(predicted(one, 512), whole[one], atol=1e-6)
    assert np.abs(predicted(one[:1], 512) - whole[one[:1]]).max() > 1e-4


def test_without_cutoffs_everybody_is_alone():
    tiny = tiny_database(static=True)
    model = stirred(tiny_model(tiny, cohort=True)).eval().double()
    one, all_ = (build_batch(tiny.tensors, np.arange(count), 2) for count in (1, 7))
    torch.testing.assert_close(model(all_)[:1], model(one), atol=1e-9, rtol=0)


def test_the_moment_of_the_data_parts_those_of_one_cutoff():
    day = int(dt.timedelta(days=1) / dt.timedelta(microseconds=1))
    times = moments([(9 * day, 9 * day), (9 * day, 4 * day), (9 * day, 9 * day)])
    assert cohorts(times, np.arange(3)).tolist() == [1, 0, 1]


def test_it_matters():
    tiny = tiny_database()
    model, batch = (
        stirred(tiny_model(tiny, cohort=True)),
        build_batch(tiny.tensors, np.arange(9), 2),
    )
    before = model(batch)
    stirred(model.cohort, seed=5)
    assert (model(batch) - before).abs().max() > 1e-3


def test_a_loader_that_tears_cohorts_is_refused():
    from nexus_model.schema import TrainingError
    from nexus_model.train.trainer import NexusFlowTrainer

    tiny = tiny_database()
    loader = NexusLoader(tiny.tensors, tiny.samples("train"), 16, goal=goal_of(tiny))
    with pytest.raises(TrainingError, match="keeps them whole"):
        NexusFlowTrainer(tiny_model(tiny, cohort=True)).train(loader, loader)
