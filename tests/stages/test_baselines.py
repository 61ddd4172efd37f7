"""Baselines: strong where there is a signal, blind to test labels, the same when run again."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from nexus_model.evaluate.metrics import auroc, log_loss, measure, primary_metric
from nexus_model.schema import (
    ColumnSpec,
    DatabaseSpec,
    DataError,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_pipeline.steps.baselines import run_baselines
from nexus_pipeline.steps.boosting import GRID

SHOPS, VISITS, CUTOFFS = 17, 1500, 40
DAY = np.timedelta64(1, "D")
TO_SHOP = ForeignKey(columns=("shop",), references_table="shops", references_columns=("id",))
EVERY = [
    "majority_or_mean", "entity_last", "entity_mean", "lightgbm_entity", "lightgbm_aggregates",
]  # fmt: skip


LEVELS = (0.1, 0.5, 0.9)
EVERY_QUANTILE = ["training_quantiles", "entity_last", "entity_quantiles", *EVERY[3:]]


def _table(name, *columns, **options):
    specs = tuple(ColumnSpec(name=n, semantic=s) for n, s in columns)
    return TableSpec(name=name, columns=specs, primary_key=("id",), **options)


def _task(kind, *, horizon_days=30):
    classes = {TaskKind.MULTICLASS: ("low", "mid", "high"), TaskKind.BINARY: ("no", "yes")}
    return TaskSpec(
        name="spend",
        kind=kind,
        entity_table="shops",
        horizon_days=horizon_days,
        classes=classes.get(kind, ()),
        quantiles=LEVELS if kind is TaskKind.QUANTILE else (),
    )


def _database(kind, *, history=True):
    semantic = SemanticType.NUMERICAL if kind.is_number else SemanticType.CATEGORICAL
    tables = [
        _table("shops", ("size", SemanticType.NUMERICAL), ("town", SemanticType.CATEGORICAL)),
        _table(
            "visits",
            ("amount", SemanticType.NUMERICAL),
            ("mood", SemanticType.CATEGORICAL),
            foreign_keys=(TO_SHOP,),
            time_column="day",
        ),
    ]
    if history:
        past = ("past_label", semantic)
        keys = {"foreign_keys": (TO_SHOP,), "time_column": "window_end"}
        tables.append(_table("label_history_spend", past, **keys))
    return DatabaseSpec(tables=tuple(tables))


def _label(kind, value, noise):
    if kind.is_number:
        return value + noise
    if kind is TaskKind.BINARY:
        return float(value + 3 * noise > 5)
    return float(np.digitize(value + noise, [3.5, 6.5]))


def _connection(kind, *, static=False):
    """Spend wanders from day to day; the label of a window is near the amounts just before it."""
    con, generator = duckdb.connect(), np.random.default_rng(0)
    level = 5 + np.cumsum(generator.normal(0, 0.35, (1300, SHOPS)), axis=0)
    level = 5 + 4 * np.tanh((level - 5) / 4)
    day, shop = generator.integers(0, 1300, VISITS), generator.integers(0, SHOPS, VISITS)
    amount = level[day, shop] + generator.normal(0, 0.5, VISITS)
    start = np.datetime64("2000-01-01", "us")
    mood = np.where(amount > 5, "good", "bad")
    con.execute("create schema aligned")
    number = np.arange(SHOPS)
    town = np.array(["A", "B"])[number % 2]
    _store(con, "shops", _row=number, size=1.0 * number, town=town)
    moment = start + day * DAY
    visits = {"amount": amount, "mood": mood, "_fk_0": shop, "_time": moment}
    _store(con, "visits", _row=np.arange(VISITS), **visits)
    rows = [(100 + 30 * k, s) for k in range(CUTOFFS) for s in range(SHOPS)]
    asked, of = np.array(rows).T
    noise = generator.normal(0, 0.4, len(rows))
    label = np.array([_label(kind, level[d, s], n) for (d, s), n in zip(rows, noise, strict=True)])
    split = np.array(["train", "validation", "test"])[np.digitize(asked, [900, 1080])]
    closed = start + asked * DAY + 30 * DAY
    cutoff = np.full(len(rows), np.datetime64("NaT", "us")) if static else start + asked * DAY
    samples = {"entity_row": of, "cutoff": cutoff, "label": label, "split": split}
    samples["as_of"] = cutoff
    _store(con, "samples_spend", sample=np.arange(len(rows)), **samples)
    past = label if kind.is_number else label.astype(int).astype(str)
    history = {"_fk_0": of, "past_label": past, "_time": closed}
    _store(con, "label_history_spend", _row=np.arange(len(rows)), **history)
    return con


def _store(con, name, **columns):
    con.register("content", pa.table(columns))
    con.execute(f"create table aligned.{name} as select * from content")
    con.unregister("content")


def _samples(con):
    rows = con.sql("select * from aligned.samples_spend order by sample").to_arrow_table()
    return {name: rows[name].to_numpy() for name in rows.column_names}


@pytest.fixture(scope="module", params=TaskKind, ids=lambda kind: kind.value)
def solved(request):
    kind = request.param
    con = _connection(kind)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nexus_pipeline.steps.boosting.GRID", GRID[1:3])
        found = run_baselines(con, _database(kind), _task(kind))
    return kind, con, {baseline.name: baseline for baseline in found}


def test_every_baseline_predicts_every_sample(solved):
    kind, _, found = solved
    assert list(found) == (EVERY_QUANTILE if kind is TaskKind.QUANTILE else EVERY)
    several = kind in {TaskKind.MULTICLASS, TaskKind.QUANTILE}
    shape = (CUTOFFS * SHOPS, 3) if several else (CUTOFFS * SHOPS,)
    for baseline in found.values():
        assert baseline.prediction.shape == shape
        assert np.isfinite(baseline.prediction).all()
        assert baseline.seconds > 0
        assert baseline.note


def test_probabilities_are_probabilities(solved):
    kind, _, found = solved
    for baseline in found.values():
        if kind is TaskKind.MULTICLASS:
            assert baseline.prediction.sum(axis=1) == pytest.approx(1)
        if not kind.is_number:
            assert baseline.prediction.min() >= 0
            assert baseline.prediction.max() <= 1


def test_quantiles_of_no_baseline_cross(solved):
    kind, _, found = solved
    if kind is TaskKind.QUANTILE:
        for baseline in found.values():
            assert (np.diff(baseline.prediction, axis=1) >= 0).all(), baseline.name


def test_the_planted_signal_is_found_by_the_aggregates_only(solved):
    kind, con, found = solved
    samples = _samples(con)
    test = samples["split"] == "test"

    def loss(name):
        said, label = found[name].prediction[test], samples["label"][test]
        if kind.is_number:
            return measure(primary_metric(_task(kind)), said, label)
        return 1 - auroc(said, label) if kind is TaskKind.BINARY else log_loss(said, label)

    constant, _, of_entity, *_ = found
    for weaker in (constant, of_entity, "lightgbm_entity"):
        assert loss("lightgbm_aggregates") < 0.75 * loss(weaker), weaker


def _closed(con, row):
    """Closed labels of the sample's entity by a loop, the oldest first."""
    return [
        float(label)
        for label, end, shop in con.sql(
            "select past_label, _time, _fk_0 from aligned.label_history_spend order by _time"
        ).fetchall()
        if shop == row["entity_row"] and end <= row["cutoff"]
    ]


def _some_rows(con):
    rows = con.sql("select * from aligned.samples_spend order by sample").to_arrow_table()
    return rows.to_pylist()[::67]


def test_entity_last_and_mean_are_those_of_closed_windows():
    con = _connection(TaskKind.REGRESSION)
    found = {b.name: b for b in _cheap(con, TaskKind.REGRESSION)}
    constant = found["majority_or_mean"].prediction[0]
    for row in _some_rows(con):
        closed = _closed(con, row)
        last = found["entity_last"].prediction[row["sample"]]
        mean = found["entity_mean"].prediction[row["sample"]]
        assert last == pytest.approx(closed[-1] if closed else constant)
        assert mean == pytest.approx(np.mean(closed) if closed else constant)


def test_quantiles_of_an_entity_are_those_of_closed_windows():
    con = _connection(TaskKind.QUANTILE)
    found = {b.name: b.prediction for b in _cheap(con, TaskKind.QUANTILE)}
    samples = _samples(con)
    train = samples["label"][samples["split"] == "train"]
    constant = found["training_quantiles"][0]
    assert constant == pytest.approx(np.quantile(train, LEVELS))
    for row in _some_rows(con):
        closed, at = _closed(con, row), row["sample"]
        own = np.quantile(closed, LEVELS) if len(closed) >= 3 else constant
        assert found["entity_quantiles"][at] == pytest.approx(own)
        if not closed:
            assert found["entity_last"][at] == pytest.approx(constant)
    late = [row for row in _some_rows(con) if row["split"] == "test"][:2]
    last = [_closed(con, row)[-1] for row in late]
    told = found["entity_last"][[row["sample"] for row in late]]
    change = told - np.array(last)[:, None]
    assert change[0] == pytest.approx(change[1])
    assert change[0][0] < 0 < change[0][2]


def test_entity_mean_of_a_binary_task_counts_the_prior_once():
    con = _connection(TaskKind.BINARY)
    found = {b.name: b for b in _cheap(con, TaskKind.BINARY)}
    prior = found["majority_or_mean"].prediction[0]
    for row in _some_rows(con):
        closed = _closed(con, row)
        expected = (sum(closed) + prior) / (len(closed) + 1)
        assert found["entity_mean"].prediction[row["sample"]] == pytest.approx(expected)


def _cheap(con, kind):
    """Without boosting: as if the aggregates had found nothing."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nexus_pipeline.steps.boosting.MOST_TREES", 1)
        return run_baselines(con, _database(kind), _task(kind))


def test_the_constant_of_a_regression_is_the_better_of_mean_and_median():
    con = _connection(TaskKind.REGRESSION)
    con.execute("update aligned.samples_spend set label = 900 where sample < 60")
    baseline = _cheap(con, TaskKind.REGRESSION)[0]
    samples = _samples(con)
    train = samples["label"][samples["split"] == "train"]
    assert baseline.prediction == pytest.approx(np.median(train))
    assert "median" in baseline.note


def test_the_prior_of_a_binary_task_is_the_share_of_ones():
    con = _connection(TaskKind.BINARY)
    samples = _samples(con)
    share = samples["label"][samples["split"] == "train"].mean()
    assert _cheap(con, TaskKind.BINARY)[0].prediction == pytest.approx(share, abs=0.01)


def test_test_labels_are_never_read():
    con = _connection(TaskKind.BINARY)
    before = _cheap(con, TaskKind.BINARY)
    con.execute("update aligned.samples_spend set label = 1 - label where split = 'test'")
    after = _cheap(con, TaskKind.BINARY)
    for one, two in zip(before, after, strict=True):
        assert np.array_equal(one.prediction, two.prediction), one.name


def test_the_same_seed_gives_the_same_predictions():
    con = _connection(TaskKind.BINARY)
    one, two = (_cheap(con, TaskKind.BINARY)[-1] for _ in range(2))
    assert np.array_equal(one.prediction, two.prediction)


def test_boosting_differs_from_run_to_run_and_constants_do_not():
    con = _connection(TaskKind.BINARY)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nexus_pipeline.steps.boosting.MOST_TREES", 2)
        found = run_baselines(con, _database(TaskKind.BINARY), _task(TaskKind.BINARY), runs=3)
    assert [len(baseline.by_run) for baseline in found] == [1, 1, 1, 3, 3]
    boosted = found[-1]
    assert not np.array_equal(boosted.by_run[0], boosted.by_run[1])
    assert boosted.prediction == pytest.approx(boosted.by_run.mean(axis=0))


def test_what_closed_after_as_of_is_not_the_last_label():
    con = _connection(TaskKind.REGRESSION)
    con.execute("update aligned.samples_spend set as_of = cutoff - interval 200 day")
    found = {b.name: b for b in _cheap(con, TaskKind.REGRESSION)}
    constant = found["majority_or_mean"].prediction[0]
    for row in _some_rows(con):
        closed = _closed(con, row | {"cutoff": row["as_of"]})
        last = found["entity_last"].prediction[row["sample"]]
        assert last == pytest.approx(closed[-1] if closed else constant)


def test_a_static_task_without_history_says_what_is_left_out():
    con = _connection(TaskKind.BINARY, static=True)
    task = _task(TaskKind.BINARY, horizon_days=None)
    found = run_baselines(con, _database(TaskKind.BINARY, history=False), task)
    assert [b.name for b in found] == [EVERY[0], *EVERY[3:]]
    assert "entity_last and entity_mean need" in found[0].note


def test_a_task_without_training_samples_is_refused():
    con = _connection(TaskKind.BINARY)
    con.execute("update aligned.samples_spend set split = 'test'")
    with pytest.raises(DataError, match="no training sample"):
        run_baselines(con, _database(TaskKind.BINARY), _task(TaskKind.BINARY))


@pytest.mark.parametrize("labels", ["one class in validation", "no validation"])
def test_a_validation_split_that_cannot_choose_does_not_stop_it(labels):
    con = _connection(TaskKind.BINARY)
    change = "label = 1" if labels.startswith("one") else "split = 'test'"
    con.execute(f"update aligned.samples_spend set {change} where split = 'validation'")
    found = _cheap(con, TaskKind.BINARY)
    assert all(np.isfinite(baseline.prediction).all() for baseline in found)
