"""The training loop: exact to repeat, exact to resume, and its best weights are copies."""

import math

import numpy as np
import pytest
import torch
from tiny import CLASSES, stirred, tiny_model
from tiny_training import CONFIG, fresh, goal_of, run, same, scripted, shop, weights

from nexus_model.apply import predict_samples
from nexus_model.evaluate.metrics import measure
from nexus_model.predict.losses import task_loss
from nexus_model.schema import TaskKind, TrainingError
from nexus_model.tokenize.batch import build_batch
from nexus_model.train.config import TrainingConfig
from nexus_model.train.loop import new_state, train_step
from nexus_model.train.optimizer import build_optimizer, set_rate


def entropy(label_B):
    """Entropy of classes in nats."""
    share = np.unique(label_B, return_counts=True)[1] / len(label_B)
    return float(-(share * np.log(share)).sum())


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS])
def test_the_loss_at_the_start_is_the_entropy_of_the_target(kind):
    tiny = shop(kind)
    # As many samples of every class, as the constant that knows nothing supposes.
    classes = range(len(CLASSES.get(kind, ())) or 2)
    fewest = min((tiny.label_B == label).sum() for label in classes)
    even = np.concatenate([np.flatnonzero(tiny.label_B == label)[:fewest] for label in classes])
    batch = build_batch(tiny.tensors, even, 2)
    loss = task_loss(tiny.recipe.task, tiny_model(tiny)(batch), batch.label_B, tiny.tokenizer.label)
    assert loss.item() == pytest.approx(entropy(tiny.label_B[even]), rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_regression_starts_at_the_scale_of_its_label(seed):
    tiny = shop(TaskKind.REGRESSION)
    batch = build_batch(tiny.tensors, tiny.every_B, 2)
    scale, model = tiny.tokenizer.label, tiny_model(tiny, seed=seed)
    loss = task_loss(tiny.recipe.task, model(batch), batch.label_B, scale)
    median = task_loss(tiny.recipe.task, torch.zeros(77, 1), batch.label_B, scale)
    assert loss.item() < 1.5 * median.item()
    # The first answers differ between samples, or encoders would learn nothing from them.
    assert model(batch).std() > 0.01


@pytest.mark.parametrize("kind", [k for k in TaskKind if k is not TaskKind.QUANTILE])
def test_a_few_samples_are_memorised_in_150_steps(kind):
    tiny = shop(kind)
    config = CONFIG.model_copy(update={"lr": 1e-2})
    state = new_state(tiny_model(tiny, width=16), config)
    state.model.train()
    batch = build_batch(tiny.tensors, tiny.every_B[20:31], 2)
    losses = (train_step(state, [batch], goal_of(tiny), config).loss for _ in range(150))
    assert any(loss < 0.02 for loss in losses)


def test_the_same_seed_gives_the_same_weights():
    assert same(weights(run(fresh())), weights(run(fresh())))


def test_another_seed_gives_other_weights():
    config = CONFIG.model_copy(update={"seed": 6})
    assert not same(weights(run(fresh())), weights(run(fresh(), config=config)))


def test_training_neither_reads_nor_moves_the_common_random_numbers():
    first = weights(run(fresh()))
    state = fresh()
    torch.manual_seed(77)
    before = torch.get_rng_state()
    assert same(weights(run(state)), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_best_weights_are_restored_and_are_copies():
    kept = []
    state = fresh()
    run(
        state,
        score=scripted(0.1, 0.7, 0.3, 0.2),
        on_epoch=lambda now: kept.append(weights(now)),
    )
    assert state.progress.best_epoch == 1
    assert same(weights(state), kept[1])
    assert not same(kept[1], kept[3])
    live = {tensor.data_ptr() for tensor in state.model.state_dict().values()}
    assert not live & {tensor.data_ptr() for tensor in state.best.values()}


def test_the_best_weights_give_the_recorded_score_again():
    tiny, state = shop(), fresh()
    run(state, score=lambda prediction, label: measure("auroc", prediction, label))
    validation = tiny.samples("validation")
    scale = tiny.tokenizer.label
    found = predict_samples(state.model, tiny.tensors, validation, tiny.recipe.task, scale)
    again = measure("auroc", found, tiny.label_B[validation])
    assert again == pytest.approx(state.progress.best_score, abs=1e-6)


def test_where_less_is_better_the_least_is_best():
    state = run(fresh(), score=scripted(3.0, 1.0, 2.0, 1.0), higher=False)
    assert (state.progress.best_epoch, state.progress.best_score) == (1, 1.0)


def test_training_stops_when_patience_runs_out():
    config = CONFIG.model_copy(update={"epochs": 9, "patience": 2})
    state = run(fresh(), config=config, score=scripted(0.1, 0.5, 0.5, 0.4))
    assert state.progress.next_epoch == 4
    assert state.progress.stopped(config) == "no better score for 2 epochs"


def test_training_stops_after_the_last_epoch():
    state = run(fresh(), score=scripted(0.1, 0.2, 0.3, 0.4))
    assert state.progress.stopped(CONFIG) == "all epochs done"
    assert [report.epoch for report in state.progress.curve] == [0, 1, 2, 3]
    assert [report.best for report in state.progress.curve] == [True] * 4


def test_a_score_that_is_not_finite_is_never_the_best():
    state = run(fresh(), score=scripted(math.nan, 0.2, math.inf, math.nan))
    assert state.progress.best_epoch == 1


def test_without_any_finite_score_there_are_no_best_weights():
    with pytest.raises(TrainingError, match="no epoch gave a finite validation score"):
        run(fresh(), score=scripted(*[math.nan] * 4))


def test_a_loss_that_is_not_finite_names_the_samples():
    tiny = shop()
    label_B = tiny.label_B.copy()
    label_B[tiny.samples("train")[3]] = math.nan
    spoiled = tiny._replace(tensors=tiny.tensors._replace(label_B=label_B))
    with pytest.raises(TrainingError, match=r"task again: loss is nan at epoch 0 for samples \["):
        run(fresh(), spoiled)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_samples_is_refused(split):
    tiny = shop()
    empty = tiny._replace(split_B=np.where(tiny.split_B == split, "none", tiny.split_B))
    with pytest.raises(TrainingError, match="needs training and validation samples, got"):
        run(fresh(), empty)


def test_every_training_sample_is_seen_once_an_epoch():
    steps = []
    run(fresh(), on_step=steps.append)
    # 44 samples by 16.
    assert [(step.epoch, step.step) for step in steps] == [
        (e, s) for e in range(4) for s in (1, 2, 3)
    ]
    assert all(step.steps == 3 for step in steps)


def test_a_step_reports_the_norm_before_clipping_and_clips():
    tiny = shop()
    config = CONFIG.model_copy(update={"gradient_clipping": 1e-3})
    state = new_state(stirred(tiny_model(tiny)), config)
    batch = build_batch(tiny.tensors, tiny.every_B, 2)
    norm = train_step(state, [batch], goal_of(tiny), config).norm
    after = torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None])
    assert norm > 1e-2
    assert after.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_only_matrices_decay_whatever_a_table_is_called():
    model = fresh().model
    for name, module in list(model.database.tables.items()):
        del model.database.tables[name]
        model.database.tables[f"starting_{name}_questions"] = module
    decays, stays, words = new_state(model, CONFIG).optimizer.param_groups
    assert (decays["weight_decay"], stays["weight_decay"]) == (CONFIG.weight_decay, 0.0)
    expected = {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and name.endswith(("weight", "weight_CFD"))
        and not name.endswith("embedding.weight")
    }  # fmt: skip
    assert {id(parameter) for parameter in decays["params"]} == expected
    found = sum(len(group["params"]) for group in (decays, stays, words))
    assert found == len(list(model.parameters()))
    assert {id(weight) for weight in words["params"]} == {
        id(weight) for name, weight in model.named_parameters() if "cells.text.embedding" in name
    }


def test_sub_words_move_faster_by_the_rate_of_words():
    model = fresh().model
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = build_optimizer(model, TrainingConfig(word_rate=5.0, weight_decay=0.0))
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    set_rate(optimizer, 1e-3)
    optimizer.step()
    for name, weight in model.named_parameters():
        moved = (before[name] - weight.detach()).mean().item()
        expected = 5e-3 if "cells.text.embedding" in name else 1e-3
        assert moved == pytest.approx(expected, rel=1e-2)


def test_every_epoch_draws_its_own_random_numbers():
    seeds = {}
    run(fresh(), on_step=lambda step: seeds.setdefault(step.epoch, torch.initial_seed()))
    assert len(set(seeds.values())) == 4
