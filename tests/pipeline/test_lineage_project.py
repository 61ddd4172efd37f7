"""Lineage, comparison, audit and an absent tracking server, on a project that was run."""

import hashlib
import json
import shutil

import pytest

from nexus_pipeline.defs.making import STAGES
from nexus_pipeline.lineage.audit import AuditError, trail_of
from nexus_pipeline.lineage.verify import read_trail
from nexus_pipeline.run import RunFailedError
from nexus_pipeline.steps import serve_task
from tests.pipeline.conftest import Shop, run_shop, told

# MLflow, Great Expectations and Dagster warn about their own dependencies.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
PREDICTIONS = "data/served/shop/churned/predictions/predictions.parquet"


def facts(shop: Shop, *words: str) -> dict:
    code, output = told(shop, *words, "--json")
    assert code == 0, output
    return json.loads(output)


@pytest.mark.parametrize(
    "asked",
    ["shop-churned", "shop-churned/1", "shop/served/predictions_churned", PREDICTIONS, "nxf"],
)
def test_lineage_leads_to_the_bytes_of_the_raw_files(made: Shop, asked: str) -> None:
    words = {"nxf": str(made.artifact), PREDICTIONS: str(made.folder / PREDICTIONS)}
    code, output = told(made, "lineage", words.get(asked, asked))
    assert code == 0, output
    for table in ("customers", "orders", "tickets"):
        sha256 = hashlib.sha256((made.raw / f"{table}.csv").read_bytes()).hexdigest()
        assert f"data/raw/shop/{table}.csv  sha256 {sha256}" in output
    assert "commit unknown" in output
    assert made.record("optimized/churned").stored.sha256[:12] in output
    assert ("predictions" in output.splitlines()[0]) == (asked != "nxf")


def test_a_version_keeps_its_lineage_with_figures_and_runs(made: Shop) -> None:
    lineage = facts(made, "lineage", "shop-churned")["lineage"]
    beside = json.loads(made.artifact.with_name("lineage.json").read_bytes())
    assert lineage == beside
    assert (lineage["version"], lineage["parent_version"]) == ("1", "")
    by_key = {asset["key"]: asset for asset in lineage["assets"]}
    trained = by_key["shop/trained/churned"]
    assert trained["config"]["training"]["epochs"] == 3
    assert trained["tracking_run_id"] == made.record("trained/churned").tracking_run_id
    assert set(by_key["shop/raw/orders"]["upstream"]) == set()
    assert lineage["metrics"]["validation"]["auroc"]["low"] < 1
    assert {"torch", "duckdb", "python"} <= set(lineage["packages"])


def test_runs_and_assets_lead_to_each_other(made: Shop) -> None:
    record = made.record("trained/churned")
    tags = made.tracker.client.get_run(record.tracking_run_id).data.tags
    assert tags["dagster.url"] == f"http://127.0.0.1:3000/runs/{record.run_id}"
    assert "assets/shop/trained/churned" in tags["mlflow.note.content"]
    assert record.shown["url"].endswith(record.tracking_run_id)


def test_everything_made_or_decided_is_in_the_audit_trail(made: Shop) -> None:
    entries = read_trail(trail_of(made.project))
    done = {(one["what"], one["key"].removeprefix("shop/")) for one in entries}
    records = made.records()
    assert {("trained" if key.startswith("trained/") else "made", key) for key in records} <= done
    assert [one["what"] for one in entries if one["what"] not in {"made", "trained"}] == [
        "registering", "registered", "gate", "promoted",
    ]  # fmt: skip
    [promoted] = [one for one in entries if one["what"] == "promoted"]
    assert promoted["artifact_sha256"] == records["optimized/churned"].stored.sha256
    assert "on validation" in promoted["reason"]
    code, output = told(made, "audit", "verify")
    assert (code, "whole; 1 registered versions agree" in output) == (0, True), output
    assert "promoted shop-churned 1: promote; beats" in told(made, "audit", "show")[1]


def test_a_trail_that_was_written_anew_disagrees_with_the_registry(copied: Shop) -> None:
    trail = trail_of(copied.project)
    trail.path.unlink(), trail.head_path.unlink()
    trail.note("made", {"key": "forged"})
    code, output = told(copied, "audit", "verify")
    assert (code, "shop-churned version 1 was registered when" in output) == (1, True), output


def test_a_run_without_changes_opens_no_run_and_notes_nothing(copied: Shop) -> None:
    trail, tracker = trail_of(copied.project), copied.tracker
    before = trail.path.read_bytes()
    runs = len(tracker.client.search_runs([tracker.experiment_id]))
    run_shop(copied)
    assert trail.path.read_bytes() == before
    assert len(tracker.client.search_runs([tracker.experiment_id])) == runs


def test_what_changed_between_two_versions_is_told(copied: Shop) -> None:
    copied.change("orders", ",2025-", ",2024-")
    copied.say("epochs: 3", "epochs: 1")
    copied.say("lr: 0.01", "lr: 0.002")  # Another model, whichever epoch is the best of the first.
    run_shop(copied)
    found = facts(copied, "compare", "shop-churned/1", "shop-churned/2")
    assert set(found["data"]) == {"orders"}
    assert found["configuration"]["trained/churned: training.epochs"] == [3, 1]
    assert (found["code"], found["packages"]) == ({}, {})
    assert found["metrics"]["validation auroc"][0]["estimate"] > 0
    same = facts(copied, "models", "compare", "shop-churned", "1", "2")
    assert same == found
    assert "after version 1" in told(copied, "lineage", "shop-churned/2")[1]
    assert told(copied, "audit", "verify")[0] == 0


def test_a_promotion_that_cannot_be_noted_is_not_done(copied: Shop) -> None:
    client = copied.tracker.client
    client.delete_registered_model_alias("shop-churned", "champion")
    trail = trail_of(copied.project)
    shutil.rmtree(trail.path.parent)
    trail.path.parent.write_text("a file where the folder should be")
    with pytest.raises(AuditError):
        serve_task.promote_task(copied.project, "churned", copied.tracker.uri, trail.note)
    assert "champion" not in client.get_registered_model("shop-churned").aliases


def test_without_a_server_everything_but_registering_goes_on(copied: Shop, monkeypatch) -> None:
    copied.change("orders", ",2025-", ",2024-")
    tracker = copied.tracker
    runs = len(tracker.client.search_runs([tracker.experiment_id]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run_shop(copied, stages=STAGES[:4])
    assert copied.log.count("does not answer (connection refused)") == 1
    assert "tracking sync" in copied.record("aligned/orders").shown["tracking"]
    with pytest.raises(RunFailedError, match=r"does not answer .*train. again: what was made"):
        run_shop(copied, stages=["served"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    made = sum("tracking" in record.shown for record in copied.records().values())
    code, output = told(copied, "tracking", "sync", "--moved")
    assert (code, " events sent" in output) == (0, True), output
    # The two Dagster runs, what was made, and what failed: the registration.
    found = tracker.client.search_runs([tracker.experiment_id])
    assert made > 5
    assert made + 1 <= len(found) - runs <= made + 3
    assert {run.info.status for run in found} <= {"FINISHED", "FAILED"}
