"""Made-up predictions of a benchmark, known error by error, for tests of its figures."""

import numpy as np

from benchmarks.quality.result import (
    VERSION,
    Count,
    Result,
    this_machine,
)
from benchmarks.quality.scores import Asked, Cost, judge
from benchmarks.quality.verdicts import verdicts
from nexus_model.evaluate.metrics import direction_of
from nexus_model.schema import (
    TaskKind,
)
from nexus_pipeline.steps.member import Training

SAMPLES, DAYS = 90, 10
SPLIT = np.repeat(["train", "validation", "test"], SAMPLES // 3)
DAY = np.tile(np.arange(DAYS), SAMPLES // DAYS)
LABEL = np.random.default_rng(0).normal(size=SAMPLES)
SEGMENT = np.tile(["zero", "sparse", "rich"], SAMPLES // 3)
ERRORS = {
    "majority_or_mean": [4.0], "lightgbm_entity": [3.0, 3.5], "lightgbm_aggregates": [2.0, 2.5],
    "nexusformer": [1.5, 2.0], "nexusformer_ensemble": [1.25], "stack": [1.0],
}  # fmt: skip
COSTS = {name: Cost(seconds=n + 1, cpu_seconds=2 * n) for n, name in enumerate(ERRORS)}


def asked(metric="mae", label=LABEL):
    return Asked(metric, label, SPLIT, DAY, SEGMENT)


def off_by(errors):
    """Predictions of one seed per error, all as far from the label as it says."""
    return np.stack([LABEL + error for error in errors])


def runs(**changed):
    return {name: off_by(errors) for name, errors in (ERRORS | changed).items()}


def noisy(seed):
    return LABEL[:30] + np.random.default_rng(seed).normal(size=30)


def judged(found=None, **options):
    return {one.name: one for one in judge(asked(**options), found or runs(), COSTS)}


def result(project="rel_f1", task="position", regime="seed_time", metric="mae", found=None):
    return Result(
        version=VERSION,
        project=project,
        task=task,
        regime=regime,
        kind=TaskKind.REGRESSION,
        metric=metric,
        direction=direction_of(metric),
        command="python -m benchmarks.quality.run",
        commit="0" * 40,
        clean=True,
        machine=this_machine(),
        ensemble_sha256="f" * 64,
        counts={s: Count(samples=30, clusters=10) for s in ("train", "validation", "test")},
        history=("results",),
        weight=0.5,
        trainings=(
            Training(seed=0, epochs=3, validation=1, seconds=60, cpu_seconds=50, parameters=9),
        ),
        preparation=Cost(seconds=1, cpu_seconds=1),
        predictors=judge(asked(metric), found or runs(), COSTS),
    )


def told(found, words):
    """The verdict of the bar that says these words."""
    return next(verdict for verdict in verdicts(found) if words in verdict.asked)
