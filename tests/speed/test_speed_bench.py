"""The runner: figures are judged as their bars say, and the page says what was found."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bench
from benchmarks.speed import page
from benchmarks.speed.case import Case, Figure, judged_by
from benchmarks.speed.measured import taken

ROOT = Path(bench.__file__).parents[1]


@pytest.mark.parametrize(
    ("sense", "ratio", "met"), [("at_most", 4.0, False), ("at_least", 0.25, False)]
)
def test_a_figure_is_told_the_way_its_bar_is(sense, ratio, met):
    figure = Figure("time", 8.0, 2.0, "s", sense, 3.0)
    assert (figure.ratio, figure.met) == (ratio, met)
    assert figure._replace(ours=1.0, other=1.0, bar=1.0).met


def test_every_case_can_be_read_and_says_what_it_asks_and_whom_it_stands_beside():
    for name in bench.CASES:
        case = bench.case_named(name)
        assert case.parts, name
        assert case.question
        assert case.peer


def test_what_was_held_at_most_counts_memory_that_is_free_again():
    def work():
        return float(np.ones(30_000_000).sum())

    total, spent = taken(work)
    assert total == 30_000_000
    assert spent.peak_mb - spent.before_mb > 200
    assert spent.cpu_s > 0


def test_a_part_runs_alone_and_gives_its_facts(tmp_path):
    facts = bench.part_alone("plain", "generated", tmp_path, "small")
    assert facts == {"rows": 20_000}
    assert (tmp_path / "events.parquet").is_file()


def test_a_measured_case_tells_versions_machine_load_and_commit(monkeypatch):
    case = Case(
        "a question", "a peer", ("numpy",),
        {"one": lambda folder, size: {"cpu_s": 2.0, "wall_s": 2.0, "versions": {"peer": "1"}}},
        lambda parts, by: [Figure("time", parts["one"][by], 1.0, "s", "at_most", 3.0)],
    )  # fmt: skip
    monkeypatch.setattr(bench, "case_named", lambda name: case)
    monkeypatch.setattr(
        bench, "part_alone", lambda name, part, folder, size: case.parts[part](folder, size)
    )
    found = bench.measured("any", "small")
    assert found["versions"] == {"numpy": np.__version__, "peer": "1"}
    assert found["figures"][0]["met"]
    assert {"machine", "commit", "load_average_before"} <= set(found)
    assert "| a question | a peer | time | 2 s | 1 s | 2 | at most 3 | met |" in page.page([found])


def test_cpu_seconds_judge_beside_other_work_only(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert judged_by(0.5) == "wall_s"
    assert judged_by(4.0) == "cpu_s"


def test_the_page_is_what_the_committed_results_say():
    found = [json.loads(file.read_text()) for file in sorted(bench.RESULTS.glob("*.json"))]
    assert page.page(found) == page.PAGE.read_text()


def test_every_link_of_the_page_leads_somewhere():
    import re

    for link in re.findall(r"\]\(([^)]+)\)", page.PAGE.read_text()):
        assert (page.PAGE.parent / link).exists(), link
