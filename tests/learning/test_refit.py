"""Training again on more samples, for as many epochs as were chosen."""

import numpy as np
import pytest
import torch
from tiny_training import CONFIG, fresh, goal_of, run, same, scripted, shop, weights

from nexus_model.schema import TrainingError
from nexus_model.train.loop import refit

AVERAGED = CONFIG.model_copy(update={"ema_decay": 0.8})


def again(chosen_B, epochs, config=CONFIG):
    """Train a fresh model on these samples, unjudged."""
    state, tiny = fresh(config=config), shop()
    return refit(state, tiny.tensors, chosen_B, goal_of(tiny), config, epochs, lambda _: None)


@pytest.mark.parametrize("config", [CONFIG, AVERAGED], ids=["plain", "averages"])
def test_on_the_same_samples_it_is_the_training_that_chose(config):
    chosen = run(fresh(config=config), config=config, score=scripted(0.1, 0.3, 0.2, 0.2))
    assert chosen.progress.best_epoch == 1
    other = again(shop().samples("train"), 2, config)
    assert same(weights(other), weights(chosen))


def test_samples_that_judged_before_are_learned_from():
    tiny = shop()
    train_B, both_B = tiny.samples("train"), np.concatenate(
        [tiny.samples("train"), tiny.samples("validation")]
    )  # fmt: skip
    assert not same(weights(again(both_B, 2)), weights(again(train_B, 2)))


def test_every_epoch_is_taken_and_none_is_judged():
    state = again(shop().samples("train"), 3)
    assert state.progress.next_epoch == 3
    assert state.progress.curve == ()
    assert all(torch.isfinite(tensor).all() for tensor in weights(state).values())


def test_no_sample_is_an_error():
    with pytest.raises(TrainingError, match="needs training samples"):
        again(np.zeros(0, int), 1)
