"""Metrics against scikit-learn, and the places where they are not defined."""

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from nexus_model.evaluate import metrics, weighted
from nexus_model.evaluate.calibration import Platt, ResidualTable, Temperature, reliability
from nexus_model.evaluate.quantiles import LevelShifts, shares_below
from nexus_model.schema import TaskKind, TaskSpec

LEVELS = (0.1, 0.25, 0.5, 0.9)


def _task(kind, levels=LEVELS):
    quantiles = levels if kind is TaskKind.QUANTILE else ()
    return TaskSpec(name="spend", kind=kind, entity_table="shops", quantiles=quantiles)


def _regression(seed, rows=211):
    generator = np.random.default_rng(seed)
    label = generator.normal(3, 2, rows)
    return label + generator.normal(0, 1, rows), label


def _binary(seed, rows=211, decimals=15):
    generator = np.random.default_rng(seed)
    prediction = generator.uniform(0.01, 0.99, rows).round(decimals)
    return prediction, (generator.uniform(size=rows) < prediction).astype(float)


def _multiclass(seed, rows=211, classes=5):
    generator = np.random.default_rng(seed)
    label = generator.integers(classes, size=rows)
    logit = generator.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[label]
    prediction = np.exp(logit) / np.exp(logit).sum(axis=1, keepdims=True)
    return prediction, label.astype(float)


def _quantiles(seed, rows=211):
    generator = np.random.default_rng(seed)
    label = generator.normal(3, 2, rows)
    return np.sort(label[:, None] + generator.normal(0, 2, (rows, len(LEVELS))), axis=1), label


@pytest.mark.parametrize("seed", range(5))
def test_regression_metrics_agree_with_sklearn(seed):
    said, label = _regression(seed)
    found = metrics.score(_task(TaskKind.REGRESSION), said, label)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(label, said), abs=1e-12)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(label, said), abs=1e-12)
    assert found["r2"] == pytest.approx(sk.r2_score(label, said), abs=1e-10)


@pytest.mark.parametrize("decimals", [15, 1], ids=["no ties", "many ties"])
def test_binary_metrics_agree_with_sklearn(decimals):
    said, label = _binary(3, decimals=decimals)
    said = said.clip(0.01, 0.99)
    found = metrics.score(_task(TaskKind.BINARY), said, label)
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(label, said), abs=1e-12)
    expected = sk.average_precision_score(label, said)
    assert found["average_precision"] == pytest.approx(expected, abs=1e-12)
    assert found["log_loss"] == pytest.approx(sk.log_loss(label, said), abs=1e-12)
    assert found["brier"] == pytest.approx(sk.brier_score_loss(label, said), abs=1e-12)
    assert found["accuracy"] == sk.accuracy_score(label, said >= 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_metrics_agree_with_sklearn(seed):
    said, label = _multiclass(seed)
    found, chosen = metrics.score(_task(TaskKind.MULTICLASS), said, label), said.argmax(axis=1)
    assert found["log_loss"] == pytest.approx(sk.log_loss(label, said), abs=1e-12)
    assert found["accuracy"] == sk.accuracy_score(label, chosen)
    expected = sk.balanced_accuracy_score(label, chosen)
    assert found["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)
    squares = ((said - np.eye(5)[label.astype(int)]) ** 2).sum(axis=1)
    assert found["brier"] == pytest.approx(squares.mean(), abs=1e-12)


def test_ece_is_the_weighted_gap_of_ten_bins():
    said, label = _binary(7)
    gaps = [
        abs(said[inside].mean() - label[inside].mean()) * inside.mean()
        for low in range(10)
        if (inside := (said * 10 >= low) & (said * 10 < low + 1)).any()
    ]
    assert metrics.ece(said, label) == pytest.approx(sum(gaps), abs=1e-12)


def test_ece_of_several_classes_looks_at_the_likeliest_class():
    said = np.array([[0.9, 0.1], [0.9, 0.1]])
    assert metrics.ece(said, [0, 1]) == pytest.approx(0.4)


def _sklearn_accuracy(label, said, sample_weight):
    return sk.accuracy_score(label, said >= 0.5, sample_weight=sample_weight)


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        ("auroc", sk.roc_auc_score),
        ("average_precision", sk.average_precision_score),
        ("log_loss", sk.log_loss),
        ("brier", sk.brier_score_loss),
        ("accuracy", _sklearn_accuracy),
    ],
)
def test_a_weighted_binary_metric_agrees_with_sklearn(metric, theirs):
    said, label = _binary(5, decimals=2)
    said = said.clip(0.01, 0.99)
    weight = np.random.default_rng(0).integers(0, 4, len(label)).astype(float)
    found = metrics.prepare(metric, said, label)(weight[None, :])[0]
    assert found == pytest.approx(theirs(label, said, sample_weight=weight), abs=1e-12)


@pytest.mark.parametrize("kind", TaskKind)
def test_integer_weights_are_repeated_rows(kind):
    rows = {
        "regression": _regression, "binary": _binary, "multiclass": _multiclass,
        "quantile": _quantiles,
    }[kind]  # fmt: skip
    said, label = rows(11)
    times = np.random.default_rng(1).integers(0, 3, len(label))
    for metric in metrics.metrics_of(_task(kind)):
        repeated = metrics.measure(metric, said.repeat(times, axis=0), label.repeat(times))
        counted = metrics.prepare(metric, said, label)(times[None, :].astype(float))[0]
        assert counted == pytest.approx(repeated, abs=1e-9), metric.name


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("label", [[0, 0, 0], [1, 1, 1]])
def test_auroc_of_one_class_is_nan_without_a_warning(label):
    assert math.isnan(metrics.auroc([0.1, 0.2, 0.3], label))


@pytest.mark.filterwarnings("error")
def test_what_is_not_defined_is_nan_without_a_warning():
    assert math.isnan(metrics.r2([1.0, 2.0], [0.1, 0.1]))
    assert math.isnan(metrics.average_precision([0.1, 0.2], [0, 0]))
    for kind in (TaskKind.REGRESSION, TaskKind.BINARY):
        assert all(math.isnan(value) for value in metrics.score(_task(kind), [], []).values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prediction_that_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        metrics.mae([bad, 1.0], [1.0, 1.0])


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="must be one of"):
        metrics.measure("f1", [1.0], [1.0])


def test_every_kind_has_its_primary_metric_first():
    chosen = {kind: metrics.primary_metric(_task(kind)) for kind in TaskKind}
    assert chosen[TaskKind.REGRESSION] == ("mae", "min", ())
    assert chosen[TaskKind.BINARY] == ("auroc", "max", ())
    assert chosen[TaskKind.MULTICLASS] == ("log_loss", "min", ())
    assert chosen[TaskKind.QUANTILE] == ("pinball", "min", LEVELS)
    assert all(metrics.metrics_of(_task(kind))[0] == chosen[kind] for kind in TaskKind)


def test_the_reliability_bins_hold_every_row_once():
    said, label = _binary(13)
    bins = reliability(said, label)
    assert sum(b.rows for b in bins) == len(label)
    gap = sum(b.rows * abs(b.said - b.happened) for b in bins) / len(label)
    assert gap == pytest.approx(metrics.ece(said, label))
    assert len(bins) == weighted.CALIBRATION_BINS


def _squeezed(seed):
    said, label = _binary(seed, rows=4001)
    logit = np.log(said / (1 - said))
    return 1 / (1 + np.exp(-(0.4 * logit - 1.0))), label


def test_platt_undoes_a_squeeze_and_a_shift():
    said, label = _squeezed(17)
    fitted = Platt.fit(said, label)
    assert fitted.slope == pytest.approx(2.5, abs=0.25)
    assert fitted.intercept == pytest.approx(2.5, abs=0.25)
    assert metrics.log_loss(fitted.apply(said), label) < metrics.log_loss(said, label) - 0.1


def test_platt_agrees_with_logistic_regression_of_the_same_penalty():
    from scipy.optimize import minimize

    said, label = _squeezed(19)
    logit = np.log(said / (1 - said))

    def loss(found):
        signed = (found[0] * logit + found[1]) * (2 * label - 1)
        return np.logaddexp(0, -signed).sum() + ((found - [1, 0]) ** 2).sum() / 2

    expected = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-6}).x
    fitted = Platt.fit(said, label)
    assert (fitted.slope, fitted.intercept) == pytest.approx(tuple(expected), abs=1e-5)


def test_platt_of_separable_rows_is_finite():
    fitted = Platt.fit([0.4, 0.45, 0.55, 0.6], [0, 0, 1, 1])
    assert 1 < fitted.slope < 100


def test_temperature_cools_an_overconfident_prediction():
    said, label = _multiclass(23, rows=2003)
    sharp = said**3 / (said**3).sum(axis=1, keepdims=True)
    fitted = Temperature.fit(sharp, label)
    direct = min(
        np.linspace(1, 5, 401),
        key=lambda t: metrics.log_loss(Temperature(temperature=t).apply(sharp), label),
    )
    assert fitted.temperature == pytest.approx(direct, abs=0.02)


def test_residual_quantiles_cover_as_often_as_they_say():
    generator = np.random.default_rng(29)
    said = generator.uniform(0, 10, 5003)
    label = said + generator.normal(0, 0.1 + said / 5)
    table = ResidualTable.fit(said, label)
    low, high = table.apply(said)[:, 0], table.apply(said)[:, -1]
    assert ((label >= low) & (label <= high)).mean() == pytest.approx(0.9, abs=0.01)
    assert (high - low)[said > 8].mean() > 2 * (high - low)[said < 2].mean()


def test_a_residual_table_of_one_repeated_prediction_has_one_bin():
    assert ResidualTable.fit([2.0] * 7, np.arange(7.0)).rows == (7,)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_quantiles_agree_with_sklearn(seed):
    said, label = _quantiles(seed)
    found = metrics.score(_task(TaskKind.QUANTILE), said, label)
    each = [
        sk.mean_pinball_loss(label, said[:, at], alpha=level) for at, level in enumerate(LEVELS)
    ]
    assert found["pinball"] == pytest.approx(np.mean(each), abs=1e-12)
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(label, said[:, 2]), abs=1e-12)


def test_weighted_pinball_loss_agrees_with_sklearn():
    said, label = _quantiles(5)
    weight = np.random.default_rng(0).integers(0, 4, len(label)).astype(float)
    each = [
        sk.mean_pinball_loss(label, said[:, at], alpha=level, sample_weight=weight)
        for at, level in enumerate(LEVELS)
    ]
    found = metrics.prepare(metrics.primary_metric(_task(TaskKind.QUANTILE)), said, label)
    assert found(weight[None, :])[0] == pytest.approx(np.mean(each), abs=1e-12)


def test_metrics_of_quantiles_by_hand():
    said = np.array([[0.0, 5.0, 10.0], [0.0, 5.0, 20.0], [4.0, 5.0, 6.0], [1.0, 2.0, 3.0]])
    found = metrics.score(_task(TaskKind.QUANTILE, (0.1, 0.5, 0.9)), said, [10.0, -1.0, 5.0, 2.5])
    losses = [
        (0.1 * 10 + 0.5 * 5 + 0.9 * 0) / 3,
        (0.9 * 1 + 0.5 * 6 + 0.1 * 21) / 3,
        (0.1 * 1 + 0.5 * 0 + 0.1 * 1) / 3,
        (0.1 * 1.5 + 0.5 * 0.5 + 0.1 * 0.5) / 3,
    ]
    assert found["pinball"] == pytest.approx(np.mean(losses), abs=1e-12)
    assert found["coverage_error"] == pytest.approx(0.8 - 3 / 4, abs=1e-12)
    assert found["interval_width"] == pytest.approx((10 + 20 + 2 + 2) / 4, abs=1e-12)
    assert found["mae"] == pytest.approx((5 + 6 + 0 + 0.5) / 4, abs=1e-12)


def test_one_quantile_alone_bounds_from_above_and_has_no_width():
    found = metrics.score(_task(TaskKind.QUANTILE, (0.9,)), [[1.0], [1.0], [1.0]], [0, 1, 2])
    assert set(found) == {"pinball", "coverage_error"}
    assert found["coverage_error"] == pytest.approx(0.9 - 2 / 3, abs=1e-12)


def test_a_metric_of_quantiles_asks_for_their_levels_and_as_many_columns():
    with pytest.raises(ValueError, match="'pinball' needs the levels"):
        metrics.measure("pinball", [[1.0, 2.0]], [1.0])
    pinball = metrics.primary_metric(_task(TaskKind.QUANTILE, (0.1, 0.9)))
    for said in ([1.0], [[1.0, 2.0, 3.0]]):
        with pytest.raises(ValueError, match="for 2 levels"):
            metrics.measure(pinball, said, [1.0])


def test_shifted_quantiles_hold_what_they_promise_on_rows_not_seen():
    generator = np.random.default_rng(31)
    label, levels = generator.gamma(2.0, 3.0, 20_000), (0.05, 0.5, 0.95)
    said = np.tile([4.0, 4.5, 5.0], (len(label), 1))
    shifts = LevelShifts.fit(said[:10_000], label[:10_000], levels)
    shifted = shifts.apply(said[10_000:])
    assert shares_below(shifted, label[10_000:]) == pytest.approx(levels, abs=0.015)
    assert (np.diff(shifted, axis=1) >= 0).all()


def test_a_shift_is_the_residual_of_the_conformal_rank():
    label = np.arange(1.0, 10.0)
    shifts = LevelShifts.fit(np.zeros((9, 3)), label, (0.15, 0.55, 0.99)).shifts
    assert shifts == (1.0, 6.0, 9.0)
    assert LevelShifts.fit([[1.0, 2.0]], [5.0], (0.1, 0.9)).shifts == (4.0, 3.0)


def test_shifts_that_would_cross_do_not():
    assert LevelShifts(shifts=(3.0, 0.0)).apply([[1.0, 2.0]]).tolist() == [[2.0, 4.0]]
