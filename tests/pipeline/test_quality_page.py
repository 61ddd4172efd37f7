"""The quality benchmark: bars, the page it writes, and what it refuses."""

import argparse
from pathlib import Path

import pytest
from tiny_quality import ERRORS, result, runs, told

from benchmarks.quality import run
from benchmarks.quality.published import PUBLISHED
from benchmarks.quality.report import table, write_report
from benchmarks.quality.result import (
    result_file,
    write_result,
)
from nexus_model.schema import (
    ConfigurationError,
)


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
