"""Boosting: who is fitted on which labels, seeds, and categories as codes."""

import numpy as np
import pyarrow as pa
import pytest

from nexus_model.schema import TaskKind, TaskSpec
from nexus_pipeline.steps import boosting
from nexus_pipeline.steps.boosting import Matrix, boost, encode

TASK = TaskSpec(name="spend", kind=TaskKind.REGRESSION, entity_table="shops", horizon_days=30)
SPLITS = np.repeat(["train", "validation", "test"], [300, 100, 100])


@pytest.fixture
def few(monkeypatch):
    """Two configurations of few trees."""
    monkeypatch.setattr(boosting, "GRID", boosting.GRID[:2])
    monkeypatch.setattr(boosting, "MOST_TREES", 60)
    monkeypatch.setattr(boosting, "PATIENCE", 60)


def _rows(seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(SPLITS), 5))
    label = values[:, 0] + generator.normal(0, 0.3, len(SPLITS))
    label[SPLITS == "test"] = np.nan
    return Matrix(values, []), label


def test_test_rows_profit_from_validation_labels_which_validation_rows_do_not_see(few):
    matrix, label = _rows()
    late = SPLITS != "train"
    matrix.values[:, 1] = late
    label = label + 10 * late
    said = boost(matrix, label, SPLITS, TASK, seeds=[0]).prediction
    assert said[SPLITS == "test"].min() > 0.2 + said[SPLITS == "validation"].max()
    assert np.abs(said[SPLITS == "validation"]).max() < 4


def test_training_rows_get_nothing_from_validation_labels_but_when_to_stop(few, monkeypatch):
    matrix, label = _rows()
    monkeypatch.setattr(boosting, "GRID", boosting.GRID[:1])
    one = boost(matrix, label, SPLITS, TASK, seeds=[0])
    shifted = label + 0.001 * (SPLITS == "validation")
    two = boost(matrix, shifted, SPLITS, TASK, seeds=[0])
    assert one.trees == two.trees
    assert np.array_equal(one.prediction[SPLITS != "test"], two.prediction[SPLITS != "test"])
    assert not np.array_equal(one.prediction[SPLITS == "test"], two.prediction[SPLITS == "test"])


def test_without_refitting_validation_labels_reach_no_prediction(few, monkeypatch):
    monkeypatch.setattr(boosting, "GRID", boosting.GRID[:1])
    matrix, label = _rows()
    one = boost(matrix, label, SPLITS, TASK, refit=False)
    two = boost(matrix, label + 0.001 * (SPLITS == "validation"), SPLITS, TASK, refit=False)
    assert one.trees == two.trees
    assert np.array_equal(one.prediction, two.prediction)


def test_rows_to_refit_on_are_learned_from_in_place_of_validation_rows(few, monkeypatch):
    monkeypatch.setattr(boosting, "GRID", boosting.GRID[:1])
    matrix, label = _rows()
    splits = SPLITS.copy()
    splits[250:300] = "refit"
    base = boost(matrix, label, splits, TASK)
    judged = boost(matrix, label + 0.001 * (splits == "validation"), splits, TASK)
    later = boost(matrix, label + 0.001 * (splits == "refit"), splits, TASK)
    assert base.trees == judged.trees == later.trees
    assert np.array_equal(base.prediction, judged.prediction)
    assert np.array_equal(base.prediction[splits != "test"], later.prediction[splits != "test"])
    assert not np.array_equal(base.prediction[splits == "test"], later.prediction[splits == "test"])


def test_every_seed_has_its_own_predictions_and_keeps_them_in_company(few, monkeypatch):
    monkeypatch.setattr(boosting, "GRID", boosting.GRID[:1])
    matrix, label = _rows()
    alone = boost(matrix, label, SPLITS, TASK, seeds=[7])
    both = boost(matrix, label, SPLITS, TASK, seeds=[3, 7])
    assert both.by_seed.shape == (2, len(SPLITS))
    assert np.array_equal(both.by_seed[1], alone.by_seed[0])
    assert not np.array_equal(both.by_seed[0], both.by_seed[1])
    assert both.prediction == pytest.approx(both.by_seed.mean(axis=0))


def test_a_configuration_is_chosen_by_validation(few, monkeypatch):
    matrix, label = _rows()
    useless = boosting.GRID[0] | {"learning_rate": 1e-9}
    monkeypatch.setattr(boosting, "GRID", (useless, boosting.GRID[1]))
    assert boost(matrix, label, SPLITS, TASK, seeds=[0]).configs == (boosting.GRID[1],)


def test_a_lucky_score_of_very_few_trees_does_not_count(few):
    matrix, label = _rows()
    label[SPLITS == "validation"] = np.random.default_rng(1).normal(size=100)
    assert min(boost(matrix, label, SPLITS, TASK, seeds=[0, 1]).trees) >= boosting.LEAST_TREES


def test_no_seed_at_all_is_refused():
    matrix, label = _rows()
    with pytest.raises(ValueError, match="at least one seed"):
        boost(matrix, label, SPLITS, TASK, seeds=[])


def test_categories_are_coded_by_training_rows_only():
    train = np.array([True] * 5 + [False] * 4)
    features = pa.table({"town": ["b", "a", "b", "a", "rare", "new", None, "a", "rare"]})
    codes = encode(features, train).values[:, 0]
    assert codes.tolist()[:5] == [1, 0, 1, 0, 2]
    assert codes[5] == codes[8] == 2
    assert np.isnan(codes[6])
    longer = pa.table({"town": ["b", "a", "b", "a", "rare", "x", "x", "x", "x"]})
    assert encode(longer, train).values[:5, 0].tolist() == codes[:5].tolist()


def test_features_of_no_columns_give_the_training_mean():
    task = TASK.model_copy(update={"kind": TaskKind.BINARY, "classes": ("no", "yes")})
    label = np.array([0.0, 1, 1, 1] * 10)
    splits = np.array((["train"] * 4 + ["validation"] * 4) * 5)
    found = boost(encode(pa.table({}), splits == "train"), label, splits, task, seeds=[0])
    assert found.prediction == pytest.approx(0.75, abs=0.01)


def test_boosted_quantiles_are_one_model_a_level_and_never_cross(few, monkeypatch):
    monkeypatch.setattr(boosting, "GRID", boosting.GRID[1:2])
    matrix, label = _rows()
    levels = (0.1, 0.5, 0.9)
    task = TASK.model_copy(update={"kind": TaskKind.QUANTILE, "quantiles": levels})
    found = boost(matrix, label, SPLITS, task, seeds=[0, 1])
    assert found.by_seed.shape == (2, len(SPLITS), 3)
    assert (np.diff(found.by_seed, axis=-1) >= 0).all()
    assert (len(found.trees), len(found.configs)) == (6, 3)
    train = SPLITS == "train"
    below = (label[train][:, None] <= found.by_seed[0, train]).mean(axis=0)
    assert below == pytest.approx(levels, abs=0.1)
