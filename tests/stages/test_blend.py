"""Two predictors' answers become one: never worse than either where the weight was chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nexus_model.evaluate.blend import WEIGHTS, best_weight, blend, steady_weight
from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.schema import TaskKind, TaskSpec

SHARES = arrays(np.float64, 12, elements=st.floats(0.01, 0.99))
LABELS = np.arange(12) % 2.0


def task(kind, quantiles=()):
    """A question of this kind."""
    return TaskSpec(name="t", kind=kind, entity_table="e", quantiles=quantiles)


def three_classes(shares_B):
    """Probabilities of three classes."""
    rest_B = (1 - shares_B) / 3
    return np.stack([shares_B, rest_B, 2 * rest_B], axis=1)


@given(one=SHARES, other=SHARES)
def test_a_weight_of_one_is_the_first_and_of_zero_the_second(one, other):
    for kind in (TaskKind.REGRESSION, TaskKind.BINARY):
        np.testing.assert_allclose(blend(kind, one, other, 1.0), one, rtol=1e-12)
        np.testing.assert_allclose(blend(kind, one, other, 0.0), other, rtol=1e-12)
    several, others = three_classes(one), three_classes(other)
    np.testing.assert_allclose(blend(TaskKind.MULTICLASS, several, others, 1.0), several)


@given(one=SHARES, other=SHARES, weight=st.sampled_from(WEIGHTS))
def test_a_blend_lies_between_its_parts(one, other, weight):
    for kind in (TaskKind.REGRESSION, TaskKind.BINARY):
        between = blend(kind, one, other, weight)
        assert (between >= np.minimum(one, other) - 1e-12).all()
        assert (between <= np.maximum(one, other) + 1e-12).all()
    shares = blend(TaskKind.MULTICLASS, three_classes(one), three_classes(other), weight)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


@given(one=SHARES, other=SHARES)
def test_the_best_weight_is_not_worse_than_either_part(one, other):
    for kind in (TaskKind.REGRESSION, TaskKind.BINARY):
        metric = primary_metric(task(kind))
        sign = 1 if metric.direction is Direction.MAX else -1
        weight = best_weight(task(kind), one, other, LABELS)
        mixed, first, second = (
            sign * measure(metric, blend(kind, one, other, w), LABELS) for w in (weight, 1.0, 0.0)
        )
        assert mixed >= max(first, second)


def test_who_knows_the_answer_gets_all_the_weight():
    right, noise = LABELS + 1.0, np.linspace(-5, 5, 12)
    assert best_weight(task(TaskKind.REGRESSION), right - 1, noise, LABELS) == 1.0
    assert best_weight(task(TaskKind.REGRESSION), noise, right - 1, LABELS) == 0.0


def test_of_equally_good_weights_the_middle_one_is_taken():
    shares = np.where(LABELS == 1, 0.9, 0.1)
    assert best_weight(task(TaskKind.BINARY), shares, shares, LABELS) == 0.5


def answers(error_of_first, error_of_second):
    """Labels at 20 moments, two predictors that err by these, and the moments."""
    draw = np.random.default_rng(0)
    label_B = draw.normal(size=200)
    first, second = (
        label_B + error * draw.normal(size=200) for error in (error_of_first, error_of_second)
    )
    return first, second, label_B, np.arange(200) % 20


def test_a_weight_stays_at_a_half_where_none_is_surely_better():
    first, second, label_B, moment_B = answers(1.0, 1.2)
    assert best_weight(task(TaskKind.REGRESSION), first, second, label_B) != 0.5
    assert steady_weight(task(TaskKind.REGRESSION), first, second, label_B, moment_B) == 0.5


def test_a_weight_leaves_a_half_where_one_is_surely_better():
    first, second, label_B, moment_B = answers(0.1, 2.0)
    assert steady_weight(task(TaskKind.REGRESSION), first, second, label_B, moment_B) > 0.8
    assert steady_weight(task(TaskKind.REGRESSION), second, first, label_B, moment_B) < 0.2


def test_one_moment_says_nothing_of_others():
    first, second, label_B, moment_B = answers(0.1, 2.0)
    assert steady_weight(task(TaskKind.REGRESSION), first, second, label_B, moment_B * 0) == 0.5


def test_certain_answers_stay_finite():
    certain = np.array([0.0, 1.0])
    assert np.isfinite(blend(TaskKind.BINARY, certain, 1 - certain, 0.3)).all()
    both = blend(TaskKind.MULTICLASS, np.eye(2), np.eye(2)[::-1], 0.5)
    assert both == pytest.approx(np.full((2, 2), 0.5))


def test_blended_quantiles_go_on_rising_and_are_weighed_by_their_pinball_loss():
    asked, noise = task(TaskKind.QUANTILE, (0.1, 0.9)), np.linspace(-5, 5, 12)[:, None]
    right, wrong = LABELS[:, None] + [-0.1, 0.1], noise + [0.0, 3.0]
    assert (np.diff(blend(asked.kind, right, wrong, 0.3), axis=1) > 0).all()
    assert best_weight(asked, right, wrong, LABELS) == 1.0
