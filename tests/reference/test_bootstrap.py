"""Bootstrap intervals: coverage, clustering, speed and repeatability."""

import math
import time

import numpy as np
import pytest

from nexus_model.evaluate.bootstrap import Interval, interval, paired_difference
from nexus_model.evaluate.metrics import auroc, direction_of, mae, metrics_of
from nexus_model.schema import TaskKind, TaskSpec


def _binary(rows, seed=0):
    generator = np.random.default_rng(seed)
    said = generator.uniform(0.05, 0.95, rows)
    return said, (generator.uniform(size=rows) < said).astype(float)


def test_the_estimate_is_the_metric_itself():
    said, label = _binary(307)
    assert interval("auroc", said, label, None).estimate == auroc(said, label)


def test_the_interval_of_a_mean_is_the_normal_one():
    label = np.random.default_rng(1).exponential(1.0, 2003)
    found = interval("mae", np.zeros(2003), label, None)
    half = 1.96 * label.std() / math.sqrt(2003)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)
    assert found.low < mae(np.zeros(2003), label) < found.high


def test_the_draws_agree_with_a_loop_over_resampled_rows():
    said, label = _binary(211)
    cluster = np.random.default_rng(2).integers(0, 13, 211)
    generator, values = np.random.default_rng(3), []
    for _ in range(1500):
        drawn = generator.integers(13, size=13)
        rows = np.concatenate([np.flatnonzero(cluster == c) for c in drawn])
        values.append(auroc(said[rows], label[rows]))
    found = interval("auroc", said, label, cluster, draws=4000)
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(values, [0.025, 0.975])), abs=0.012
    )


def test_clusters_that_move_together_widen_the_interval():
    shock = np.random.default_rng(5).normal(size=20).repeat(50)
    clusters = np.arange(20).repeat(50)
    alone = interval("mae", np.zeros(1000), np.abs(shock), None)
    together = interval("mae", np.zeros(1000), np.abs(shock), clusters)
    assert together.high - together.low > 3 * (alone.high - alone.low)
    assert (together.clusters, alone.clusters) == (20, 1000)


def test_clusters_all_different_are_the_same_as_none():
    said, label = _binary(101)
    dates = np.arange("2000-01-01", "2000-04-11", dtype="datetime64[D]")
    assert interval("auroc", said, label, dates) == interval("auroc", said, label, None)


def test_the_same_seed_gives_the_same_interval():
    said, label = _binary(101)
    one, two = (interval("auroc", said, label, None, seed=4) for _ in range(2))
    assert one == two
    assert one != interval("auroc", said, label, None, seed=5)


def test_one_cluster_has_an_estimate_and_no_bounds():
    said, label = _binary(101)
    found = interval("auroc", said, label, np.zeros(101))
    assert found.estimate == auroc(said, label)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_nan_bounds_survive_json():
    said, label = _binary(101)
    text = interval("auroc", said, label, np.zeros(101)).model_dump_json()
    assert '"low":null' in text
    assert math.isnan(Interval.model_validate_json(text).low)


@pytest.mark.filterwarnings("error")
def test_draws_without_a_positive_row_are_left_out():
    label = np.zeros(12)
    label[0] = 1
    found = interval("auroc", np.linspace(1, 0, 12), label, None)
    assert found.low == 1.0


def test_a_thousand_draws_of_auroc_on_three_thousand_rows_take_under_two_seconds():
    said, label = _binary(3000)
    start = time.process_time()
    interval("auroc", said, label, np.arange(3000) // 60)
    interval("auroc", said, label, None)
    assert time.process_time() - start < 2 * 2


def test_the_better_prediction_is_found_better():
    label = np.random.default_rng(7).normal(size=503)
    noise = np.random.default_rng(8).normal(size=(2, 503))
    good, bad = label + 0.5 * noise[0], label + 1.0 * noise[1]
    found = paired_difference("mae", good, bad, label, None)
    assert found.high < 0
    assert found.probability_better == 1.0
    assert found.estimate == pytest.approx(mae(good, label) - mae(bad, label))


def test_the_direction_of_the_metric_decides_who_is_better():
    said, label = _binary(503)
    worse = said + np.random.default_rng(9).normal(0, 0.4, 503)
    assert paired_difference("auroc", said, worse, label, None).probability_better > 0.95
    assert paired_difference("auroc", worse, said, label, None).probability_better < 0.05
    assert direction_of("auroc") == "max"


def test_a_prediction_is_as_good_as_itself():
    said, label = _binary(101)
    found = paired_difference("auroc", said, said, label, None)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)
    assert found.probability_better == 0.5


def test_a_paired_interval_is_narrower_than_two_separate_ones():
    said, label = _binary(1009)
    other = said + np.random.default_rng(9).normal(0, 0.02, 1009)
    found = paired_difference("auroc", said, other, label, None)
    single = interval("auroc", said, label, None)
    assert found.high - found.low < (single.high - single.low) / 2


def test_clusters_of_another_length_are_refused():
    with pytest.raises(ValueError, match="clusters"):
        interval("mae", [1.0, 2.0], [1.0, 2.0], [0])


def test_metrics_of_quantiles_have_intervals_that_hold_the_estimate():
    task = TaskSpec(name="t", kind=TaskKind.QUANTILE, entity_table="e", quantiles=(0.1, 0.9))
    label = np.random.default_rng(3).normal(size=400)
    said = np.tile([-1.0, 1.5], (400, 1))
    for metric in metrics_of(task):
        found = interval(metric, said, label, np.arange(400) // 8, draws=200)
        assert (found.metric, found.rows) == (metric.name, 400)
        assert found.low <= found.estimate <= found.high
