"""Scores: every predictor on the same samples and the same draws, alone and against opponents.

B samples, S seeds. Which opponent is the best is decided on validation samples.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.segments import SEGMENTS
from nexus_model.align.index import DAY_US
from nexus_model.evaluate.bootstrap import Drawn, Interval, Number, PairedDifference, draw_metric
from nexus_model.evaluate.metrics import Direction, direction_of, measure
from nexus_model.schema import Record
from nexus_pipeline.steps.ensemble_task import AVERAGED as ENSEMBLE
from nexus_pipeline.steps.ensemble_task import MODEL, OPPONENT, STACK

Array = NDArray[np.float64]
DRAWS = 2000
OURS = (MODEL, ENSEMBLE, STACK)
ENTITY, AGGREGATES = BOOSTED = ("lightgbm_entity", OPPONENT)
BEST = "best_opponent"
AVERAGED = "_averaged"
ORDER = (
    "majority_or_mean", "entity_last", "entity_mean",
    *(name + form for name in BOOSTED for form in ("", AVERAGED)), *OURS,
)  # fmt: skip


class Cost(Record):
    """Wall and CPU seconds, features included."""

    seconds: float
    cpu_seconds: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            seconds=self.seconds + other.seconds, cpu_seconds=self.cpu_seconds + other.cpu_seconds
        )


class Against(Record):
    """The test metric less an opponent's, on the same draws of clusters."""

    opponent: str
    difference: PairedDifference


class Segment(Record):
    """The test metric of some samples, null where it is not defined for them."""

    samples: int
    value: Number


class Judged(Record):
    """One predictor. With several seeds the metric is the mean of theirs; ``validation_seeds`` are
    those that had not seen the validation samples.
    """

    name: str
    validation: Interval
    validation_seeds: tuple[float, ...]
    test: Interval
    test_seeds: tuple[float, ...]
    against: dict[str, Against]
    segments: dict[str, Segment]
    cost: Cost


class Asked(NamedTuple):
    """What was asked: the metric, and of every sample its label, split, cluster and segment."""

    metric: str
    label_B: Array
    split_B: NDArray[np.str_]
    cluster_B: NDArray[np.int64]
    segment_B: NDArray[np.str_]

    def at(self, split: str) -> NDArray[np.bool_]:
        """Which samples are of a split."""
        return np.asarray(self.split_B == split)


class _Seen(NamedTuple):
    validation: Drawn
    test: Drawn


def days_of(moment_B: NDArray[np.int64]) -> NDArray[np.int64]:
    """Calendar day of moments in microseconds: the cluster of a sample.

    >>> days_of(np.array([0, 86_399_999_999, 86_400_000_000, -1])).tolist()
    [0, 0, 1, -1]
    """
    return np.asarray(moment_B // DAY_US)


def with_averages(runs: Mapping[str, Array]) -> dict[str, Array]:
    """Every predictor ``[S, B, ...]``, opponents of several seeds also averaged, in order.

    NexusFormer's average is there already, so its opponents get theirs.
    """
    averages = {
        name + AVERAGED: by_seed.mean(axis=0)[None]
        for name, by_seed in runs.items()
        if name not in OURS and len(by_seed) > 1
    }
    every = {**runs, **averages}
    return {name: every[name] for name in sorted(every, key=_place)}


def _place(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else -1, name)


def judge(
    asked: Asked, runs: Mapping[str, Array], costs: Mapping[str, Cost], draws: int = DRAWS
) -> tuple[Judged, ...]:
    """Every predictor of ``runs`` (name to predictions ``[S, B, ...]``), averages included.

    A mean over seeds is compared with a mean over seeds, an average with an average.

    Raises:
        ValueError: a test prediction is missing, or no seed predicts all validation samples.
    """
    forms = with_averages(runs)
    seen = {
        name: _Seen(
            _drawn(asked, by_seed, "validation", draws), _drawn(asked, by_seed, "test", draws)
        )
        for name, by_seed in forms.items()
    }
    opponents = [name for name in runs if name not in OURS]
    return tuple(
        Judged(
            name=name,
            validation=found.validation.interval(),
            validation_seeds=found.validation.by_run,
            test=found.test.interval(),
            test_seeds=found.test.by_run,
            against=_against(name, seen, _rivals(len(forms[name]), opponents, forms)),
            segments=_segments(asked, forms[name]),
            cost=costs[name.removesuffix(AVERAGED)],
        )
        for name, found in seen.items()
    )


def _drawn(asked: Asked, by_seed: Array, split: str, draws: int) -> Drawn:
    at = asked.at(split)
    told = [prediction[at] for prediction in by_seed]
    if split == "validation":
        told = [prediction for prediction in told if np.isfinite(prediction).all()]
    return draw_metric(asked.metric, told, asked.label_B[at], asked.cluster_B[at], draws=draws)


def _rivals(seeds: int, opponents: list[str], forms: Mapping[str, Array]) -> dict[str, str]:
    """Opponents by name in the form that is fair to a predictor of one or of several seeds."""
    averaged = {name: name + AVERAGED for name in opponents if name + AVERAGED in forms}
    return {name: averaged.get(name, name) if seeds == 1 else name for name in opponents}


def _against(name: str, seen: Mapping[str, _Seen], rivals: Mapping[str, str]) -> dict[str, Against]:
    best = best_of({form: seen[form].validation for form in rivals.values()})
    asked = {known: rivals[known] for known in BOOSTED if known in rivals} | {BEST: best}
    own = name.removesuffix(AVERAGED)
    return {
        role: Against(opponent=form, difference=seen[name].test.less(seen[form].test))
        for role, form in asked.items()
        if form.removesuffix(AVERAGED) != own
    }


def best_of(found: Mapping[str, Drawn]) -> str:
    """Who has the best metric; of equals the first."""
    sign = 1 if direction_of(next(iter(found.values())).metric) is Direction.MAX else -1
    return max(found, key=lambda name: sign * found[name].estimate)


def _segments(asked: Asked, by_seed: Array) -> dict[str, Segment]:
    found = {}
    for name in SEGMENTS:
        at = asked.at("test") & (asked.segment_B == name)
        values = [measure(asked.metric, one[at], asked.label_B[at]) for one in by_seed]
        found[name] = Segment(samples=int(at.sum()), value=float(np.mean(values)))
    return found
