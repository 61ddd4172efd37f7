"""The quality benchmark: what is compared with what, and on which samples."""

import json
import math

import numpy as np
import pytest
from tiny import table_spec
from tiny_quality import COSTS, DAYS, LABEL, SEGMENT, SPLIT, asked, judged, result, runs

from benchmarks.quality import run
from benchmarks.quality.result import (
    read_result,
    result_file,
    write_result,
)
from benchmarks.quality.scores import BEST, Asked, days_of, judge
from benchmarks.quality.segments import history_of
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.schema import (
    DatabaseSpec,
    SemanticType,
    TaskKind,
    TaskSpec,
)


def test_several_seeds_are_the_mean_of_their_metrics():
    found = judged()["nexusformer"]
    assert found.test_seeds == pytest.approx((1.5, 2.0))
    assert found.test.estimate == pytest.approx(1.75)
    assert (found.test.low, found.test.high) == pytest.approx((1.75, 1.75))


def test_an_average_is_compared_with_an_average():
    opposed = runs(lightgbm_aggregates=[2.0, -2.0])
    found = judged(opposed)
    single = found["nexusformer"].against["lightgbm_aggregates"]
    average = found["nexusformer_ensemble"].against["lightgbm_aggregates"]
    assert (single.opponent, average.opponent) == (
        "lightgbm_aggregates", "lightgbm_aggregates_averaged",
    )  # fmt: skip
    assert single.difference.estimate == pytest.approx(1.75 - 2.0)
    assert average.difference.estimate == pytest.approx(1.25 - 0.0)


def test_validation_decides_who_the_best_opponent_is():
    found = runs()
    found["majority_or_mean"][:, SPLIT == "test"] = LABEL[SPLIT == "test"]
    assert judged(found)["stack"].against[BEST].opponent == "lightgbm_aggregates_averaged"
    found["majority_or_mean"][:, SPLIT == "validation"] = LABEL[SPLIT == "validation"]
    best = judged(found)["stack"].against[BEST]
    assert (best.opponent, best.difference.estimate) == ("majority_or_mean", pytest.approx(1.0))


def test_nobody_is_compared_with_itself():
    found = judged()
    assert set(found["lightgbm_aggregates"].against) == {"lightgbm_entity"}
    assert set(found["lightgbm_aggregates_averaged"].against) == {"lightgbm_entity"}
    assert set(found["lightgbm_entity"].against) == {"lightgbm_aggregates", BEST}


def test_a_seed_that_saw_the_validation_samples_is_not_asked_about_them():
    found = runs()
    found["nexusformer"][1, SPLIT == "validation"] = np.nan
    one = judged(found)["nexusformer"]
    assert (one.validation_seeds, len(one.test_seeds)) == (pytest.approx((1.5,)), 2)


def test_a_missing_test_prediction_is_refused():
    found = runs()
    found["nexusformer"][0, -1] = np.nan
    with pytest.raises(ValueError, match="finite"):
        judged(found)


def test_better_on_every_day_is_certain():
    difference = judged()["stack"].against["lightgbm_aggregates"].difference
    assert difference.probability_better == 1.0
    assert difference.high < 0
    assert difference.clusters == DAYS


def test_a_day_is_one_cluster_however_many_moments_it_has():
    hours = np.arange(96) * 3_600_000_000
    assert np.bincount(days_of(hours)).tolist() == [24, 24, 24, 24]


def test_a_segment_of_one_class_has_no_metric_and_is_null():
    label = np.where(SEGMENT == "zero", 1.0, LABEL > 0)
    found = judge(asked("auroc", label), runs(), COSTS)
    segments = {one.name: one for one in found}["stack"].segments
    assert math.isnan(segments["zero"].value)
    assert 0 <= segments["sparse"].value <= 1
    written = json.loads(found[0].model_dump_json())
    assert written["segments"]["zero"] == {"samples": 10, "value": None}


def test_segments_are_of_their_own_samples():
    found = runs()
    found["stack"][0, SEGMENT == "rich"] += 3.0
    values = {k: v.value for k, v in judged(found)["stack"].segments.items()}
    assert values == pytest.approx({"zero": 1.0, "sparse": 1.0, "rich": 4.0})


def table(name, *parents, dated=True):
    """A table of sizes."""
    keys = {f"{parent}_id": parent for parent in parents}
    return table_spec(name, {"size": SemanticType.NUMERICAL}, keys, "at" if dated else None)


def recipe_of(entity, *ways, history=None):
    tables = (
        table("planes", dated=False), table("airports", dated=False),
        table("flights", "planes", "airports"), table("arrivals", "planes", "airports"),
        table("colours", "planes", dated=False), table("label_history", "planes"),
    )  # fmt: skip
    database = DatabaseSpec(tables=tables)
    paths = find_paths(database, entity, 1, ways)
    task = TaskSpec(
        name="late", kind=TaskKind.BINARY, entity_table=entity, classes=("0", "1"), horizon_days=1
    )
    return Recipe(
        raw=(),
        database=database,
        task=task,
        plans=tuple(PathPlan(path=path, max_rows=9) for path in paths),
        history=history,
    )


def test_history_is_rows_of_dated_children_without_labels():
    recipe = recipe_of("planes", history="label_history")
    offsets = {path.name: np.array([0, 0, 2, 5]) for path in recipe.paths}
    paths, rows = history_of(recipe, offsets)
    assert paths == ("flights", "arrivals")
    assert rows.tolist() == [0, 4, 6]


def test_an_entity_without_children_has_its_parents_shortest_past():
    recipe = recipe_of("flights", ("planes", "arrivals"), ("airports", "arrivals"))
    offsets = {path.name: np.array([0, 9, 18]) for path in recipe.paths}
    offsets["planes/arrivals"] = np.array([0, 0, 3])
    paths, rows = history_of(recipe, offsets)
    assert (paths, rows.tolist()) == (("planes/arrivals",), [0, 3])


def test_a_result_comes_back_as_it_was_written(tmp_path):
    file = result_file(tmp_path, "rel_f1", "position")
    write_result(file, result())
    assert read_result(file) == result()
    assert [path.name for path in tmp_path.iterdir()] == ["rel_f1-position.json"]


def leaves(found):
    if isinstance(found, dict):
        return sum(leaves(value) for value in found.values())
    return sum(leaves(value) for value in found) if isinstance(found, list) else 1


def test_a_result_holds_no_figure_of_a_single_sample():
    few, many = asked(), Asked("mae", *(np.tile(a, 3) for a in asked()[1:]))
    more = {name: np.tile(by_seed, (1, 3)) for name, by_seed in runs().items()}
    sizes = [
        sum(leaves(one.model_dump(mode="json")) for one in judge(where, found, COSTS, draws=9))
        for where, found in ((few, runs()), (many, more))
    ]
    assert sizes[0] == sizes[1]


def test_a_result_of_the_same_ensemble_is_not_scored_again(tmp_path):
    file = result_file(tmp_path, "rel_f1", "position")
    assert not run.is_scored(file, "f" * 64)
    write_result(file, result())
    assert run.is_scored(file, "f" * 64)
    assert not run.is_scored(file, "e" * 64)
