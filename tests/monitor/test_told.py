"""What people and programs are told: the sentence, the page, the metrics, the summary."""

import re
import subprocess
import sys

import numpy as np
import pytest

from nexus_model.evaluate.bootstrap import Interval
from nexus_pipeline.monitor.drift_task import as_markdown, publish_metrics, summary_of
from nexus_pipeline.monitor.live import has_fallen
from nexus_pipeline.monitor.novelty import (
    Vectors,
    nearest_distances,
    novel_share,
    novelty_quantiles,
)
from nexus_pipeline.monitor.page import render_drift
from nexus_pipeline.monitor.record import LiveMetric, told
from nexus_pipeline.monitor.summary import drift_alarm, drift_folder, latest_drift
from nexus_pipeline.project import ProjectConfig
from tests.monitor.reports import drifted


@pytest.fixture
def project(tmp_path):
    """A project somewhere, of which nothing was made."""
    return ProjectConfig(
        project_name="f1",
        datasets=({"name": "results", "primary_key": "id"},),
        target={"target_table": "results", "target_column": "dnf"},
        root=tmp_path,
    )


def test_the_first_sentence_names_what_moved():
    assert told(drifted()).startswith("results.grid moved by 2013-06-01")
    quiet = drifted().model_copy(update={"findings": (), "live_fell": False})
    assert told(quiet).startswith("Nothing moved")


def test_the_page_begins_with_what_moved_and_shows_it():
    page = render_drift(drifted())
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    said = re.sub(r"<[^>]+>", " ", body.split("<section", 1)[1])
    assert said.index("results.grid moved") < said.index("What moved")
    assert body.count("<svg") == 1


def test_the_page_asks_nothing_of_the_network_and_runs_nothing():
    page = render_drift(drifted(column="<script>alert(1)</script>"))
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", page)


def test_the_table_in_dagster_names_the_column():
    assert "| results.grid | ks | 0.400 | 0.1 | 0.500 | 1e-08 | **yes** |" in as_markdown(drifted())


def test_an_older_day_does_not_replace_the_metrics_of_a_newer_one(tmp_path):
    newer, older = drifted(), drifted().model_copy(update={"day": "2013-05-01"})
    publish_metrics(newer, tmp_path)
    before = (tmp_path / "f1_dnf.prom").read_text()
    publish_metrics(older, tmp_path)
    assert (tmp_path / "f1_dnf.prom").read_text() == before
    assert [path.name for path in tmp_path.glob("*.prom")] == ["f1_dnf.prom"]


def test_the_summary_is_read_back_by_day_and_newest(project):
    assert drift_alarm(project, "dnf", "2013-06-01") is None
    assert latest_drift(project, "dnf") is None
    for day in ("2013-05-31", "2013-06-01"):
        summary = summary_of(drifted().model_copy(update={"day": day}))
        folder = drift_folder(project, "dnf", day)
        folder.mkdir(parents=True)
        (folder / "summary.json").write_text(summary.model_dump_json())
    found = drift_alarm(project, "dnf", "2013-06-01")
    assert found == latest_drift(project, "dnf") == summary
    assert (found.alarm, found.moved, found.data_version) == (True, ("results.grid",), "abc")


def test_asking_for_an_alarm_loads_no_heavy_library():
    code = (
        "import sys, nexus_pipeline.monitor.summary as s; "
        "heavy = {'torch', 'dagster', 'mlflow', 'scipy', 'pandas', 'lightgbm', 'sklearn'}; "
        "sys.exit(str(heavy & {*sys.modules}) if heavy & {*sys.modules} else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def live(estimate: float, low: float, high: float) -> Interval:
    return Interval(
        metric="auroc", estimate=estimate, low=low, high=high, level=0.95, rows=99, clusters=99
    )


@pytest.mark.parametrize(
    ("found", "fell"),
    [((0.5, 0.4, 0.6), True), ((0.5, 0.1, 0.9), False), ((0.78, 0.77, 0.79), False)],
)
def test_a_metric_fell_if_it_did_by_enough_and_for_sure(found, fell):
    newest = LiveMetric(day="2013-01-01", champion="1", found=live(*found))
    assert has_fallen((newest,), live(0.8, 0.7, 0.9), 0.1) is fell
    assert has_fallen((), live(0.8, 0.7, 0.9), 0.1) is False


def cloud(rng: np.random.Generator, rows: int, name: str) -> Vectors:
    found = rng.normal(size=(rows, 8))
    keys = tuple(f"{name}{at}" for at in range(rows))
    return Vectors(found / np.linalg.norm(found, axis=1, keepdims=True), keys)


def test_an_entity_is_not_its_own_neighbour():
    known = cloud(np.random.default_rng(0), 50, "a")
    again = Vectors(known.states_ND[:5], known.keys[:5])
    np.testing.assert_allclose(
        nearest_distances(again, known), nearest_distances(known, known)[:5], atol=1e-12
    )
    strangers = again._replace(keys=tuple("vwxyz"))
    np.testing.assert_allclose(nearest_distances(strangers, known), 0, atol=1e-12)


def test_one_entity_in_a_hundred_is_novel_where_nothing_is_new():
    rng = np.random.default_rng(1)
    known, same = cloud(rng, 1_000, "a"), cloud(rng, 1_000, "b")
    found = novel_share(novelty_quantiles(same, known)[1], 1_000)
    assert found.size < 0.025
    assert found.p > 0.01


def test_entities_of_another_kind_are_novel():
    rng = np.random.default_rng(2)
    known, others = cloud(rng, 500, "a"), cloud(rng, 100, "b")
    shifted = known.states_ND * np.array([1, 1, 1, 1, 0.01, 0.01, 0.01, 0.01])
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    found = novel_share(novelty_quantiles(others, Vectors(shifted, known.keys))[1], 500)
    assert found.size > 0.5
    assert found.p < 1e-9
