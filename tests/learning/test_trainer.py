"""NexusFlowTrainer, checks before training, and the size of a batch: what each argument does."""

import numpy as np
import pytest
import torch
from tiny import tiny_model
from tiny_training import CONFIG, goal_of, same, shop

from nexus_model.config import NexusConfig
from nexus_model.schema import TaskKind, TrainingError
from nexus_model.tokenize.batch import build_batch
from nexus_model.train.batch_size import (
    configuration_hash,
    find_batch_size,
    peak_bytes,
    training_steps,
)
from nexus_model.train.loader import NexusLoader
from nexus_model.train.sanity import dry_run, overfit_one_batch
from nexus_model.train.trainer import NexusFlowTrainer, mean_loss

SHORT = {"epochs": 3, "lr": 3e-3, "warmup_steps": 1, "seed": 5}


def loaders(tiny=None, **changed):
    """Training and validation batches of the tiny shop."""
    tiny = tiny or shop()
    given = {"goal": goal_of(tiny)} | changed
    return (
        NexusLoader(tiny.tensors, tiny.samples("train"), 16, shuffle=True, **given),
        NexusLoader(tiny.tensors, tiny.samples("validation"), 16, **given),
    )


def trainer(model=None, config=None, **given):
    """A trainer of a tiny model."""
    return NexusFlowTrainer(
        model=model or tiny_model(shop()), config=SHORT if config is None else config, **given
    )


def test_the_call_of_the_documentation_trains():
    train_loader, val_loader = loaders()
    found = NexusFlowTrainer(
        model=tiny_model(shop()),
        config={"epochs": 2},
        use_early_stopping=True,
        patience=7,
        convergence_threshold=1e-6,
    )
    best = found.train(train_loader, val_loader, auto_optimize="quantization", target_size_mb=100)
    assert best is found.model
    assert best.optimization.reached
    assert "float32 had met the target already" in best.optimization.said


def test_the_best_model_gives_the_recorded_score():
    found, (train, validation) = trainer(), loaders()
    best = found.train(train, validation)
    assert mean_loss(best, validation, found.config) == found.progress.best_score
    assert found.progress.best_score == min(report.score for report in found.progress.curve)
    assert found.stopped_because == "all epochs done"


def test_a_mapping_and_a_configuration_train_alike_and_a_keyword_takes_precedence():
    one, other = tiny_model(shop()), tiny_model(shop())
    config = CONFIG.model_validate(SHORT | {"lr": 1.0})
    trainer(one).train(*loaders())
    trainer(other, config, lr=SHORT["lr"]).train(*loaders())
    assert same(one.state_dict(), other.state_dict())


def worse_and_worse():
    """A score that falls from call to call."""
    left = iter(range(100, 0, -1))
    return lambda prediction_B, label_B: next(left)


def test_patience_counts_only_with_early_stopping():
    long = SHORT | {"epochs": 6}
    stopped = trainer(config=long, patience=1, score=worse_and_worse())
    stopped.train(*loaders())
    assert stopped.stopped_because == "no better score for 1 epochs"
    assert len(stopped.progress.curve) == 2
    whole = trainer(config=long, patience=1, score=worse_and_worse(), use_early_stopping=False)
    whole.train(*loaders())
    assert whole.stopped_because == "all epochs done"
    assert len(whole.progress.curve) == 6


def test_training_stops_when_the_loss_no_longer_moves():
    still = {"epochs": 5, "lr": 1e-12}
    found = trainer(config=still, convergence_threshold=1e-3)
    found.train(*loaders())
    assert found.stopped_because.startswith("converged: the last epoch changed the loss by less")
    assert len(found.progress.curve) == 2
    whole = trainer(config=still, convergence_threshold=None)
    whole.train(*loaders())
    assert len(whole.progress.curve) == 5


def test_quantized_weights_are_smaller_and_their_loss_is_told():
    found, (train, validation) = trainer(tiny_model(shop(), width=32)), loaders()
    best = found.train(train, validation, auto_optimize="quantization")
    exact, small = best.optimization.candidates
    assert (exact.form, small.form, best.optimization.taken) == ("float32", "int8", small)
    assert small.size_bytes < 0.6 * exact.size_bytes
    assert small.loss == mean_loss(best, validation, found.config)
    assert exact.loss == pytest.approx(found.progress.best_score)


def test_a_size_out_of_reach_is_said_with_the_smallest():
    best = trainer().train(*loaders(), auto_optimize="quantization", target_size_mb=0.001)
    told, smallest = best.optimization, best.optimization.candidates[1]
    assert not told.reached
    assert told.said == (
        f"not reachable: smallest was {smallest.size_bytes / 1e6:.3f} MB "
        f"at loss {smallest.loss:.4f}"
    )


def test_nothing_is_optimized_unless_asked_for():
    assert not hasattr(trainer().train(*loaders()), "optimization")


@pytest.mark.parametrize(
    ("given", "told"),
    [({"auto_optimize": "pruning"}, "must be 'quantization' or None, got 'pruning'"),
     ({"target_size_mb": 0}, "target_size_mb must be positive, got 0")],
)  # fmt: skip
def test_an_impossible_optimization_is_refused(given, told):
    with pytest.raises(ValueError, match=told):
        trainer().train(*loaders(), **given)


def test_a_loader_that_stops_short_of_the_models_parents_is_refused():
    with pytest.raises(TrainingError, match="2 foreign keys up, its loader follows 1"):
        trainer().train(*loaders(model=NexusConfig(parent_hops=1)))


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.REGRESSION])
def test_one_batch_can_be_learned_by_heart_and_the_model_stays(kind):
    tiny = shop(kind)
    model = tiny_model(tiny, width=16)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = build_batch(tiny.tensors, tiny.every_B[20:31], 2)
    config = CONFIG.model_copy(update={"lr": 1e-2})
    report = overfit_one_batch(model, batch, goal_of(tiny), config)
    assert report.learned
    assert report.warning is None
    assert report.last_loss < (report.first_loss / 10 if kind == "regression" else 0.05)
    assert same(model.state_dict(), before)


def test_what_cannot_be_learned_by_heart_is_warned_of():
    tiny = shop()
    # The same sample twice, with either label.
    batch = build_batch(tiny.tensors, np.array([3, 3]), 2)._replace(label_B=torch.tensor([0.0, 1]))
    config = CONFIG.model_copy(update={"lr": 1e-2})
    report = overfit_one_batch(tiny_model(tiny), batch, goal_of(tiny), config, steps=40)
    assert not report.learned
    assert report.last_loss >= 0.69
    assert "one batch of 2 samples could not be learned by heart" in report.warning


def test_a_dry_run_tells_shapes_and_takes_one_step_of_a_copy():
    tiny, model = shop(), tiny_model(shop())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    batch = build_batch(tiny.tensors, np.arange(16), 2)
    report = dry_run(model, batch, goal_of(tiny), CONFIG)
    assert report.parameters == sum(weight.numel() for weight in model.parameters())
    assert report.tables["orders"].rows == len(batch.tables["orders"].ids_R)
    assert report.tables["customers"].cells == 3
    assert report.loss_after < report.loss_before
    assert same(model.state_dict(), before)


@pytest.mark.parametrize(("budget", "size"), [(100, 16), (99, 16), (89, 8), (16, 1), (10**9, 64)])
def test_the_largest_power_of_two_within_the_budget_is_found(budget, size):
    run = []
    found = find_batch_size(
        lambda n: lambda: run.append(n), budget, 64, measure=lambda step: step() or 10 + run[-1] * 5
    )
    assert found.batch_size == size == max(n for n, used in found.tried.items() if used <= budget)
    # From the third size on, growth is foreseen and nothing too large is tried.
    assert sum(used > budget for used in found.tried.values()) == (1 if size == 1 else 0)


def test_a_size_that_memory_refuses_is_no_crash():
    def step(size):
        def run():
            if size > 8:
                raise MemoryError

        return run

    assert find_batch_size(step, 100, 64, measure=lambda run: run() or 1).batch_size == 8
    with pytest.raises(TrainingError, match="one sample needs more than 0 MB"):
        find_batch_size(step, 0, 64, measure=lambda run: run() or 1)


def test_a_real_step_is_measured_and_leaves_model_and_random_numbers_alone():
    tiny, model = shop(), tiny_model(shop())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    steps = training_steps(model, tiny.tensors, tiny.samples("train"), goal_of(tiny), CONFIG)
    found = find_batch_size(steps, 10**12, 4)
    assert found.batch_size == 4
    assert all(used > 10**7 for used in found.tried.values())
    assert same(model.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random)


def test_peak_memory_sees_what_a_step_held_for_a_moment():
    small = peak_bytes(lambda: None)
    large = peak_bytes(lambda: torch.ones(60_000_000).sum())
    assert large - small > 150_000_000
    assert peak_bytes(lambda: None) < large


def test_the_key_of_a_found_size_changes_with_the_configuration():
    model = tiny_model(shop()).config
    key = configuration_hash(CONFIG, model)
    assert key == configuration_hash(CONFIG.model_copy(), model)
    assert key != configuration_hash(CONFIG, model.model_copy(update={"width": 64}))
