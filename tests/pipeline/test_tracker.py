"""One MLflow run per materialization, opened and closed inside, nested under its Dagster run."""

import os
from pathlib import Path

import pytest

from nexus_pipeline.tracking import Tracker
from nexus_pipeline.tracking.resource import TrackerResource

# MLflow 3.17 asks SQLAlchemy 2.1 for a loader strategy that it deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_run_is_finished_and_nested_under_its_dagster_run(tracker: Tracker) -> None:
    parent = tracker.parent_run("dagster-1", {"project": "f1"})
    with tracker.run("trained", parent, {"dagster.asset_key": "trained"}) as log:
        assert tracker.client.get_run(log.run_id).info.status == "RUNNING"
    found = tracker.client.get_run(log.run_id)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "trained")
    assert found.data.tags["mlflow.parentRunId"] == parent
    assert found.data.tags["dagster.asset_key"] == "trained"
    assert tracker.client.get_run(parent).data.tags["project"] == "f1"


def fail_inside(tracker: Tracker) -> None:
    """Open a run and raise."""
    with tracker.run("trained"):
        raise RuntimeError("no convergence")


def test_a_run_that_raises_is_failed_and_the_error_goes_on(tracker: Tracker) -> None:
    with pytest.raises(RuntimeError, match="no convergence"):
        fail_inside(tracker)
    found = tracker.client.search_runs([tracker.experiment_id])
    assert [run.info.status for run in found] == ["FAILED"]


def test_a_dagster_run_has_one_parent_whoever_asks(tracker: Tracker) -> None:
    other = Tracker(tracker.path, "f1")
    assert tracker.parent_run("dagster-1") == other.parent_run("dagster-1")
    assert tracker.parent_run("dagster-2") != tracker.parent_run("dagster-1")
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 2


def test_two_steps_that_start_at_once_agree_on_the_parent(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tracker.parent_run("dagster-1")
    late = Tracker(tracker.path, "f1")
    answers = iter([None])
    look = late._find_parent
    monkeypatch.setattr(late, "_find_parent", lambda run: next(answers, look(run)))
    assert late.parent_run("dagster-1") == first
    assert len(tracker.client.search_runs([tracker.experiment_id])) == 1


def test_a_parent_is_closed_with_the_status_of_its_dagster_run(tracker: Tracker) -> None:
    parent = tracker.parent_run("dagster-1")
    tracker.finish_parent("dagster-1", "FAILED")
    tracker.finish_parent("dagster-without-runs")
    assert tracker.client.get_run(parent).info.status == "FAILED"


def test_parameters_and_metrics_are_recorded(tracker: Tracker) -> None:
    with tracker.run("trained") as log:
        log.log_params({"epochs": 3, "optimizer": {"lr": 0.1}, "long": "x" * 7000})
        log.log_params({f"p{i}": i for i in range(150)})
        log.log_metrics({"loss": 2.0}, step=0)
        log.log_metrics({"loss": 1.0, "auc": float("nan")}, step=1)
        log.set_tags({"git_sha": "abc"})
    data = tracker.client.get_run(log.run_id).data
    assert (data.params["epochs"], data.params["optimizer.lr"]) == ("3", "0.1")
    assert len(data.params) == 153
    assert (data.metrics["loss"], data.tags["git_sha"]) == (1.0, "abc")
    history = tracker.client.get_metric_history(log.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 2.0), (1, 1.0)]


def test_more_metrics_than_fit_in_one_request_are_recorded(tracker: Tracker) -> None:
    with tracker.run("trained") as log:
        log.log_metrics({f"m{i}": float(i) for i in range(1100)})
    assert len(tracker.client.get_run(log.run_id).data.metrics) == 1100


def test_files_are_kept_beside_the_database(tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>fine</p>")
    with tracker.run("evaluated") as log:
        log.log_artifact(tmp_path / "report.html")
        log.log_artifact(tmp_path / "report.html", "pages")
    names = [file.path for file in tracker.client.list_artifacts(log.run_id)]
    assert sorted(names) == ["pages", "report.html"]
    assert (tmp_path / "mlflow-artifacts").is_dir()
    assert not (tmp_path / "mlruns").exists()


def test_a_data_set_is_recorded_with_its_whole_digest(tracker: Tracker) -> None:
    with tracker.run("trained") as log:
        log.log_dataset("samples_dnf", "a" * 64, "data/raw/f1.duckdb")
    inputs = tracker.client.get_run(log.run_id).inputs
    assert inputs is not None
    found = inputs.dataset_inputs[0]
    assert (found.dataset.name, found.dataset.digest) == ("samples_dnf", "a" * 36)
    assert {tag.key: tag.value for tag in found.tags}["digest"] == "a" * 64


def test_a_run_knows_its_page(tracker: Tracker) -> None:
    with tracker.run("trained") as log:
        expected = f"http://x:5000/#/experiments/{tracker.experiment_id}/runs/{log.run_id}"
        assert log.url("http://x:5000/") == expected


def test_no_run_is_left_active_for_others_to_write_to(tracker: Tracker) -> None:
    import mlflow

    with tracker.run("trained"):
        assert mlflow.active_run() is None


def test_a_server_named_by_the_environment_is_used(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert Tracker(tracker.path, "f1").uri == "http://127.0.0.1:9"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert Tracker(tracker.path, "f1").uri == f"sqlite:///{tracker.path}"


def test_nothing_is_told_to_the_makers_of_mlflow(tracker: Tracker) -> None:
    assert tracker.client is not None
    assert (os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["DO_NOT_TRACK"]) == ("true", "true")


def test_the_resource_asks_nobody_until_it_is_used(tmp_path: Path) -> None:
    tracker = TrackerResource(path=str(tmp_path / "runs.db"), experiment="f1").tracker()
    assert (tracker.experiment, list(tmp_path.iterdir())) == ("f1", [])
