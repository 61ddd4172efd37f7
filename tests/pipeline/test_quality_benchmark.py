"""The quality benchmark: what is compared with what, and a page that says what arrays say."""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import run
from benchmarks.quality.draws import DRAWS, draw_metric
from benchmarks.quality.published import PUBLISHED
from benchmarks.quality.report import table, write_report
from benchmarks.quality.result import (
    VERSION,
    Count,
    Result,
    read_result,
    result_file,
    this_machine,
    write_result,
)
from benchmarks.quality.scores import BEST, Asked, Cost, days_of, judge
from benchmarks.quality.segments import history_of
from benchmarks.quality.verdicts import verdicts
from nexus_model.align.paths import find_paths
from nexus_model.align.recipe import PathPlan, Recipe
from nexus_model.evaluate.bootstrap import interval, mean_paired_difference
from nexus_model.evaluate.metrics import direction_of
from nexus_model.schema import (
    ColumnSpec,
    ConfigurationError,
    DatabaseSpec,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
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


@pytest.mark.parametrize("metric", ["mae", "auroc"])
def test_draws_are_those_of_the_library(metric):
    label = LABEL[:30] if metric == "mae" else (LABEL[:30] > 0).astype(float)
    a, b = [noisy(1), noisy(2)], [noisy(3)]
    drawn = [draw_metric(metric, side, label, DAY[:30]) for side in (a, b)]
    assert drawn[1].interval == interval(metric, b[0], label, DAY[:30], draws=DRAWS)
    expected = mean_paired_difference(metric, a, b, label, DAY[:30], draws=DRAWS)
    found = drawn[0].less(drawn[1])
    assert found.estimate == pytest.approx(expected.estimate, rel=1e-12)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert found.probability_better == expected.probability_better


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


def table_spec(name, *parents, dated=True):
    keys = tuple(
        ForeignKey(columns=(f"{p}_id",), references_table=p, references_columns=("id",))
        for p in parents
    )
    columns = (ColumnSpec(name="size", semantic=SemanticType.NUMERICAL),)
    time = "at" if dated else None
    return TableSpec(
        name=name, columns=columns, primary_key=("id",), foreign_keys=keys, time_column=time
    )


def recipe_of(entity, *ways, history=None):
    tables = (
        table_spec("planes", dated=False), table_spec("airports", dated=False),
        table_spec("flights", "planes", "airports"), table_spec("arrivals", "planes", "airports"),
        table_spec("colours", "planes", dated=False), table_spec("label_history", "planes"),
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


def test_bars_are_judged_on_the_model_without_boosting():
    met = told([result()], "position, must")
    assert met.met is True
    missed = told([result(found=runs(nexusformer=[2.75], nexusformer_ensemble=[2.5625]))], "must")
    assert missed.met is False
    assert missed.told.endswith("missed by 0.0625")


def test_a_score_between_two_bars_meets_the_first_alone():
    found = [result(found=runs(nexusformer=[3.0], nexusformer_ensemble=[2.4375]))]
    assert (told(found, "must").met, told(found, "aim").met) == (True, False)


def test_bars_differ_between_regimes():
    found = runs(nexusformer=[3.0], nexusformer_ensemble=[3.0])
    frozen = result(task="position_frozen", regime="frozen", found=found)
    assert frozen.question == "position"
    assert told([frozen], "must").met is True
    assert told([result(found=found)], "must").met is False


@pytest.mark.parametrize(
    ("stacks", "met"),
    [([1.0, 1.0, 9.0], True), ([1.0, 9.0, 9.0], False), ([1.0, 9.0], None), ([1.0, 1.0], True)],
)
def test_the_stack_has_to_win_two_of_three_tasks(stacks, met):
    tasks = ("position", "dnf", "top3")
    found = [
        result(task=task, found=runs(stack=[stack]))
        for task, stack in zip(tasks, stacks, strict=False)
    ]
    assert told(found, "stack").met is met


def test_elsewhere_one_predictor_must_be_level_and_better():
    level = result("baseball", "salary")
    assert told([level], "level with").met is True
    # The stack is better than the entity's own columns, but worse than the constant, the best.
    poor = {"majority_or_mean": [1.0], "stack": [2.0], "nexusformer": [5.0]}
    worse = result("baseball", "salary", found=runs(**poor, nexusformer_ensemble=[5.0]))
    assert told([worse], "level with").met is False
    even = {name: [2.0] for name in ERRORS}
    assert told([result("baseball", "salary", found=runs(**even))], "level with").met is False


def test_the_table_says_what_the_arrays_say(tmp_path):
    write_result(result_file(tmp_path, "rel_f1", "position"), result())
    page = write_report(tmp_path)
    assert "| `nexusformer` | 1.750 | 1.750 ± 0.3536 | 1.750 to 1.750 | 1.000 |" in page
    assert "| `stack` | 1.000 | 1.000 | 1.000 to 1.000 | 1.000 |" in page
    assert "| `lightgbm_entity` | 3.250 | 3.250 ± 0.3536 | 3.250 to 3.250 | 0.000 |" in page
    assert "| `nexusformer_ensemble` | 5.0 / 8.0 |" in page
    assert "-1.250 (-1.250 to -1.250), P 1.000; `lightgbm_aggregates_averaged`" in page


def test_regimes_have_a_section_each_with_what_others_published(tmp_path):
    for task, regime in (("position", "seed_time"), ("position_frozen", "frozen")):
        one = result(task=task, regime=regime)
        write_result(result_file(tmp_path, "rel_f1", task), one)
    write_result(result_file(tmp_path, "baseball", "salary"), result("baseball", "salary"))
    page = write_report(tmp_path)
    sections = ["## rel_f1, seed_time", "## rel_f1, frozen", "## baseball, seed_time"]
    places = [page.index(section) for section in sections]
    assert places == sorted(places)
    for regime, start, end in zip(("seed_time", "frozen"), places, places[1:], strict=False):
        assert all(one.system in page[start:end] for one in PUBLISHED[regime])
    assert "Published by others" not in page[places[2] :]


def test_a_task_without_a_predictor_has_a_dash(tmp_path):
    less = {name: made for name, made in runs().items() if name != "majority_or_mean"}
    for task, found in (("position", runs()), ("dnf", less)):
        write_result(result_file(tmp_path, "rel_f1", task), result(task=task, found=found))
    line = next(line for line in write_report(tmp_path).splitlines() if "| `majority" in line)
    assert line.endswith("| - | - | - | - |")


def test_a_page_without_results_says_so(tmp_path):
    assert "Nothing was run yet" in write_report(tmp_path)
    assert table(["a"], []) == "| a |\n|---|"


def options(**changed):
    return argparse.Namespace(**({"raw": [], "out": Path("results"), "again": False} | changed))


def test_missing_tables_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXUS_RAW_REL_F1", str(tmp_path / "nowhere"))
    file = run.ROOT / "examples/rel_f1/nexusflow.yaml"
    (problem,) = run.run_project(file, ["position"], options())
    assert "rel_f1: no raw tables" in problem
    given = options(raw=[f"rel_f1={tmp_path}"])
    assert run.raw_of(file, dict([given.raw[0].split("=")])) == tmp_path.resolve()


def test_what_could_not_be_run_is_the_exit_code(monkeypatch):
    asked_for = options(projects=["rel_f1"], tasks=["dnf"])
    monkeypatch.setattr(run, "arguments", lambda: asked_for)
    monkeypatch.setattr(run, "run_project", lambda *_: iter(["rel_f1-dnf: broken"]))
    assert run.main() == 1
    monkeypatch.setattr(run, "run_project", lambda *_: iter([]))
    assert run.main() == 0


def test_a_task_that_no_project_has_is_refused():
    with pytest.raises(ConfigurationError, match="no task positoin"):
        run.wanted(["rel_f1"], ["positoin"])
    (tasks,) = run.wanted(["rel_f1"], ["dnf_frozen", "dnf"]).values()
    assert tasks == ["dnf", "dnf_frozen"]
