"""The training section of a project file: every key arrives, and `auto` is measured once."""

import pytest
from tiny import tiny_model
from tiny_training import project_with, shop

from nexus_model.schema import ConfigurationError
from nexus_model.train.config import OptimizerName, Precision, ScheduleName, TrainingConfig
from nexus_pipeline.steps.auto_batch import measured_batch_size
from nexus_pipeline.steps.train_task import training_config

EVERY = {
    "batch_size": 8, "memory_budget_mb": 512, "accumulate": 4, "epochs": 3, "patience": 1,
    "batches": "similar", "compile": True,
    "convergence_threshold": 1e-4, "gradient_clipping": 0.5, "precision": "bf16",
    "ema_decay": 0.9, "balance_weight": 0.2, "z_weight": 0.3, "seed": 7,
    "optimizer": {
        "name": "lion", "lr": 0.01, "word_rate": 3.0, "weight_decay": 0.1, "momentum": 0.5,
        "schedule": "plateau",
        "warmup_steps": 5, "decay_share": 0.4, "plateau_factor": 0.6, "plateau_patience": 3,
    },
}  # fmt: skip

MANY = 100_000


def project(tmp_path, training):
    """A project file with this training section."""
    return project_with(tmp_path, "training", training)


def test_every_key_arrives_in_the_training(tmp_path):
    found = training_config(project(tmp_path, EVERY), MANY)
    flat = EVERY | EVERY["optimizer"] | {"optimizer": "lion"}
    wanted = {key: value for key, value in flat.items() if key in TrainingConfig.model_fields}
    assert found.model_dump() == TrainingConfig(**wanted).model_dump()
    assert set(TrainingConfig.model_fields) == set(wanted)
    usual = TrainingConfig().model_dump()
    assert all(found.model_dump()[key] != usual[key] for key in usual)


def test_the_defaults_are_those_of_the_model(tmp_path):
    assert training_config(project(tmp_path, {}), MANY) == TrainingConfig()


def test_a_precision_may_be_a_number(tmp_path):
    found = training_config(project(tmp_path, {"precision": 32}), MANY)
    assert found.precision is Precision.FULL


@pytest.mark.parametrize(
    ("optimizer", "told"),
    [({"name": "adam"}, "'adamw', 'sgd', 'lion', 'muon' or 'schedule_free'"),
     ({"schedule": "linear"}, "'warmup_cosine', 'warmup_stable_decay', 'one_cycle'")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path, optimizer, told):
    with pytest.raises(ConfigurationError, match=told):
        project(tmp_path, {"optimizer": optimizer})


def test_an_optimizer_with_its_own_rate(tmp_path):
    found = training_config(project(tmp_path, {"optimizer": {"name": "schedule_free"}}), MANY)
    assert found.optimizer is OptimizerName.SCHEDULE_FREE
    assert found.curve is ScheduleName.CONSTANT
    assert found.peak_lr == 3e-3


@pytest.mark.parametrize("size", [0, -1, "automatic"])
def test_an_impossible_batch_size_is_refused(tmp_path, size):
    with pytest.raises(ConfigurationError, match="batch_size"):
        project(tmp_path, {"batch_size": size})


def test_an_automatic_batch_size_is_measured_once_per_configuration(tmp_path):
    auto = project(tmp_path, {"batch_size": "auto", "memory_budget_mb": 1e6})
    model, known, made = tiny_model(shop()).config, tmp_path / "deep" / "batch_size.json", []
    assert auto.training.batch_size is None

    def steps(size):
        return lambda: made.append(size)

    first = measured_batch_size(auto, known, steps, model, 100)
    assert first == made[-1] == 64
    assert measured_batch_size(auto, known, steps, model, 100) == first
    assert len(made) == 7
    measured_batch_size(auto, known, steps, model.model_copy(update={"width": 16}), 100)
    assert len(made) == 14


@pytest.mark.parametrize(("samples", "batch", "warmup"), [(362, 16, 46), (2400, 64, 76)])
def test_few_samples_are_given_small_batches_and_a_short_warm_up(tmp_path, samples, batch, warmup):
    found = training_config(project(tmp_path, {}), samples)
    assert (found.batch_size, found.warmup_steps) == (batch, warmup)


def test_what_the_file_says_is_done_with_few_samples_too(tmp_path):
    said = {"batch_size": 256, "optimizer": {"warmup_steps": 100}}
    found = training_config(project(tmp_path, said), 362)
    assert (found.batch_size, found.warmup_steps) == (256, 100)
