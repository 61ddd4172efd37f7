"""Distances: what they are on samples whose distance is known, and how often chance alarms."""

import numpy as np
import pytest
from scipy import stats

from nexus_pipeline.monitor.correction import holm
from nexus_pipeline.monitor.design import (
    Groups,
    category_effects,
    correlation,
    number_effects,
)
from nexus_pipeline.monitor.distances import (
    MISSING,
    OTHERS,
    Binned,
    association,
    bin_categories,
    bin_numbers,
    kolmogorov,
    missing_change,
    stability_index,
    unseen_share,
    volume_change,
)

RNG = np.random.default_rng(0)
SOME = RNG.normal(size=2_000)


def test_the_index_is_the_formula_of_the_book():
    binned = Binned(("a", "b"), np.array([4_000_000, 6_000_000]), np.array([5_000_000, 5_000_000]))
    expected = 0.1 * np.log(0.5 / 0.4) - 0.1 * np.log(0.5 / 0.6)
    assert stability_index(binned) == pytest.approx(expected, abs=1e-6)


def test_the_index_of_one_population_is_as_large_as_its_theory_says():
    found = [
        stability_index(bin_numbers(RNG.normal(size=500), RNG.normal(size=300))) for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(9 * (1 / 500 + 1 / 300), rel=0.2)


def test_missing_values_are_a_bin_of_their_own():
    lost = np.where(np.arange(2_000) < 600, np.nan, SOME)
    binned = bin_numbers(SOME, lost)
    assert binned.names[-1] == MISSING
    assert (binned.reference[-1], binned.current[-1]) == (0, 600)
    assert stability_index(binned) > 1


def test_bins_hold_a_tenth_of_the_reference_each_and_ties_share_one():
    assert bin_numbers(SOME, SOME).reference[:-1].tolist() == [200] * 10
    tied = bin_numbers(np.repeat([0.0, 1.0], [900, 100]), np.array([5.0]))
    assert tied.reference.tolist() == [900, 100, 0]
    assert tied.current.tolist() == [0, 1, 0]


def test_kolmogorovs_distance_agrees_with_scipy_and_ignores_missing():
    other = RNG.normal(0.2, size=700)
    expected = stats.ks_2samp(SOME, other, method="asymp")
    found = kolmogorov(np.append(SOME, np.nan), np.append(other, np.nan))
    assert found.size == pytest.approx(expected.statistic, abs=1e-12)
    assert found.p == pytest.approx(expected.pvalue, rel=0.1)


def test_association_agrees_with_scipy_where_sides_are_equal():
    counts = np.array([[40, 60, 0], [70, 30, 0]])
    found = association(Binned(("a", "b", MISSING), *counts))
    plain = stats.chi2_contingency(counts[:, :2], correction=False)
    assert found.size == pytest.approx(np.sqrt(plain.statistic / 200), abs=1e-12)
    assert found.p == pytest.approx(plain.pvalue, abs=1e-12)


def test_association_is_as_large_whichever_side_has_more_rows():
    small = association(Binned(("a", "b"), np.array([40, 60]), np.array([70, 30])))
    large = association(Binned(("a", "b"), np.array([4_000, 6_000]), np.array([70, 30])))
    assert small.size == pytest.approx(large.size, abs=1e-12)


def test_rare_categories_do_not_make_a_test_of_one_row_each():
    ids = [f"row {at}" for at in range(400)]
    binned = bin_categories(ids[:200], ids[200:])
    assert binned.names[-2:] == (OTHERS, MISSING)
    assert association(binned).p > 0.05
    assert unseen_share(ids[:200], ids[200:]) == 1.0


@pytest.mark.parametrize("empty", [np.array([]), np.full(5, np.nan)])
def test_a_side_without_values_is_no_alarm_and_no_error(empty):
    assert kolmogorov(SOME, empty) == (0.0, 1.0)
    assert np.isfinite(stability_index(bin_numbers(SOME, empty)))
    assert missing_change(np.zeros(0, bool), np.ones(3, bool)) == (0.0, 1.0)


def test_volume_tells_how_many_times_as_many_rows_a_day():
    then, now = RNG.poisson(20, 200), RNG.poisson(60, 30)
    assert volume_change(then, now).size == pytest.approx(3, rel=0.1)
    assert volume_change(then, now).p < 1e-6 < volume_change(then, RNG.poisson(20, 30)).p


def test_holm_is_the_procedure_of_the_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_rows_of_one_group_count_as_one_where_they_are_alike():
    groups = np.repeat(np.arange(50), 20)
    alike = np.repeat(RNG.normal(size=50), 20)
    assert correlation(alike[:, None], groups) == pytest.approx(1)
    assert number_effects(alike, alike, (Groups(groups, groups),)).current == pytest.approx(20)
    assert number_effects(SOME[:1_000], alike, (Groups(groups, groups),)).reference < 1.5


def test_one_group_alone_learns_from_the_other_side_how_alike_its_rows_are():
    groups, alike = np.repeat(np.arange(50), 20), np.repeat(RNG.normal(size=50), 20)
    one = Groups(groups, np.full(40, 99))
    assert number_effects(alike, np.ones(40), (one,)).current == pytest.approx(40)
    assert number_effects(SOME[:1_000], SOME[:40], (one,)).current < 4
    names = np.where(alike > 0, "a", "b").astype(object)
    assert category_effects(names, names[:40], (one,)).current == pytest.approx(40)


def test_groups_of_alike_rows_raise_no_more_alarms_than_alpha_says():
    """Fifty rows of five groups against fifty groups: without the effect nearly all are alarms."""
    then, now = np.repeat(np.arange(50), 10), np.repeat(np.arange(100, 105), 10)
    plain = careful = 0
    for _ in range(100):
        former = np.repeat(RNG.normal(size=50), 10)
        newer = np.repeat(RNG.normal(size=5), 10)
        effects = number_effects(former, newer, (Groups(then, now),))
        plain += kolmogorov(former, newer).p < 0.01
        careful += kolmogorov(former, newer, effects).p < 0.01
    assert careful <= 3 < 50 < plain
