"""A whole run on a small shop: what it leaves, what it reuses, and how it fails."""

import json
import os
import re
import shutil
import signal
import zipfile
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from nexus_model import load_model
from nexus_pipeline import cli
from nexus_pipeline.defs.making import STAGES
from nexus_pipeline.steps import gate, serve_task
from nexus_pipeline.steps.champion import read_promotion
from nexus_pipeline.steps.evaluation import Evaluation
from nexus_pipeline.tracking import tracking_at
from tests.pipeline.conftest import (
    REPOSITORY,
    Shop,
    command,
    in_its_home,
    run_shop,
    small_shop,
)

# MLflow, Great Expectations and Dagster warn about their own dependencies.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
TABLES = ("customers", "orders", "tickets")


def frames(shop: Shop) -> dict[str, pl.DataFrame]:
    return {name: pl.read_csv(shop.raw / f"{name}.csv") for name in TABLES}


def train(shop: Shop, *options: str) -> tuple[int, str]:
    """``nexusflow train`` in this process: its exit code and all it said."""
    patch = in_its_home(shop)
    try:
        found = CliRunner().invoke(cli.app, ["train", "--project", str(shop.file), *options])
    finally:
        patch.undo()
    return found.exit_code, found.output


# What a run leaves


def test_every_stage_leaves_its_outputs(made: Shop) -> None:
    assert {key.split("/")[0] for key in made.records()} == set(STAGES)
    for stage in STAGES[1:]:
        assert any((made.folder / "data" / stage / "shop").rglob("*")), stage
    for file in (
        "evaluated/shop/churned/report.html",
        "evaluated/shop/churned/metrics.json",
        "optimized/shop/churned/model-int8.nxf",
        "served/shop/churned/predictions/predictions.parquet",
    ):
        assert (made.folder / "data" / file).stat().st_size > 0, file


def test_accepted_and_quarantined_rows_are_the_raw_rows(made: Shop) -> None:
    record = made.record("validated/orders")
    assert record.stored.facts["quarantined"] in (1, 2)
    assert (
        record.stored.rows + record.stored.facts["quarantined"] == (record.stored.facts["raw_rows"])
    )
    assert record.stored.facts["raw_rows"] == frames(made)["orders"].height
    assert "0-0" in json.dumps(record.shown["rejected"])


def test_the_artifact_predicts_from_the_raw_frames(made: Shop) -> None:
    raw = frames(made)
    found = pl.from_arrow(load_model(made.artifact).predict(raw))
    assert found["customer_id"].to_list() == raw["customers"]["customer_id"].to_list()
    assert found["prediction"].is_between(0, 1).all()
    assert found["prediction"].n_unique() > 10
    served = made.folder / "data/served/shop/churned/predictions/predictions.parquet"
    both = found.join(pl.read_parquet(served), on="customer_id")
    # Validation kept one of customer 0's doubled orders; the raw frames have both.
    both = both.filter(pl.col("customer_id") != 0)
    assert (both["prediction"] - both["prediction_right"]).abs().max() < 1e-6


def test_nothing_that_was_made_is_a_pickle(made: Shop) -> None:
    places = [*made.folder.rglob("*"), *made.home.rglob("*")]
    files = [path for path in places if path.is_file()]
    assert len(files) > 100
    for path in files:
        assert path.suffix not in {".pkl", ".pickle", ".pt", ".pth", ".joblib", ".ckpt"}, path
        start = path.open("rb").read(2)
        assert start[:1] != b"\x80" or start[1:] not in (b"\x02", b"\x03", b"\x04", b"\x05"), path
        if zipfile.is_zipfile(path):
            assert {Path(name).suffix for name in zipfile.ZipFile(path).namelist()} <= {
                ".json", ".safetensors",
            }  # fmt: skip


def test_every_materialization_is_a_finished_run_under_its_dagster_run(made: Shop) -> None:
    tracker = made.tracker
    runs = tracker.client.search_runs([tracker.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED"}
    [parent] = [run for run in runs if run.data.tags.get("nexus.role") == "parent"]
    children = {
        run.data.tags["dagster.asset_key"]: run for run in runs if run.info is not parent.info
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {
        parent.info.run_id
    }
    records = made.records()
    assert set(children) == {f"shop/{key}" for key in records}
    for key, record in records.items():
        assert children[f"shop/{key}"].info.run_id == record.tracking_run_id
    trained = children["shop/trained/churned"].data
    assert trained.params["training.epochs"] == "3"
    assert 0 < trained.metrics["loss"] < 2


def test_the_registered_version_says_what_it_is(made: Shop) -> None:
    client = made.tracker.client
    version = client.get_model_version_by_alias("shop-churned", "challenger")
    promotion = read_promotion(made.project, "churned")
    assert promotion.champion_after == str(version.version), promotion.reason
    assert client.get_model_version_by_alias("shop-churned", "champion").version == version.version
    assert version.tags["artifact_sha256"] == made.record("optimized/churned").stored.sha256
    assert re.fullmatch("[0-9a-f]{64}", version.tags["data_fingerprint"])
    assert version.tags["git_commit"] == "unknown"
    assert json.loads(version.tags["gate"])["passed"] is True


def test_the_registry_serves_what_the_file_predicts(made: Shop) -> None:
    import mlflow
    import pandas as pd

    with tracking_at(made.tracker.uri):
        served = mlflow.pyfunc.load_model("models:/shop-churned@champion")
    asked = pd.DataFrame(
        [
            {"table": name, "records": json.dumps(frame.to_dicts())}
            for name, frame in frames(made).items()
        ]
    )
    found = served.predict(asked)
    expected = load_model(made.artifact).predict(frames(made)).to_pandas()
    pd.testing.assert_frame_equal(found, expected)
    assert {column.name for column in served.metadata.signature.inputs} == {"table", "records"}
    assert served.metadata.signature.outputs.input_names() == ["customer_id", "prediction"]
    assert served.input_example is not None
    assert served.metadata.signature.params.params[0].name == "cutoff"


# What a second run does


def test_a_run_without_changes_reuses_everything_even_at_another_place(copied: Shop) -> None:
    before, started = copied.records(), len(copied.log.splitlines())
    run_shop(copied)
    assert copied.records() == before
    said = copied.log.splitlines()[started:]
    assert len(said) == len(before)
    assert all(line.endswith("unchanged, reused") for line in said)


def test_a_changed_value_remakes_what_depends_on_it_and_nothing_else(copied: Shop) -> None:
    before = copied.records()
    copied.change("orders", ",2025-", ",2024-")
    run_shop(copied)
    after = copied.records()
    kept = {key for key in before if after[key].run_id == before[key].run_id}
    others = ("customers", "tickets")
    assert kept == {f"{stage}/{table}" for stage in STAGES[:3] for table in others}
    assert after["raw/orders"].data_version != before["raw/orders"].data_version
    assert after["tokenized/churned"].data_version != before["tokenized/churned"].data_version
    client = copied.tracker.client
    first, second = (client.get_model_version("shop-churned", number) for number in ("1", "2"))
    assert second.aliases[0] == "challenger"
    assert first.tags["data_fingerprint"] != second.tags["data_fingerprint"]


def test_an_amount_is_not_overlooked_though_no_row_moves(copied: Shop) -> None:
    """Keys, times and links stay; only what the model reads in the row changes."""
    first = (copied.raw / "orders.csv").read_text().splitlines()[1]
    copied.change("orders", first, first.rpartition(",")[0] + ",99999.5")
    before = copied.records()
    run_shop(copied, stages=STAGES[:4])
    after = copied.records()
    assert after["tokenized/churned"].data_version != before["tokenized/churned"].data_version


def test_a_label_is_not_overlooked_though_no_row_moves(copied: Shop) -> None:
    people = frames(copied)["customers"]
    first = people.row(0, named=True)
    line = ",".join(str(first[name]) for name in people.columns)
    copied.change("customers", line, line[:-1] + str(1 - first["churned"]))
    before = copied.records()
    run_shop(copied, stages=STAGES[:4])
    after = copied.records()
    assert after["tokenized/churned"].data_version != before["tokenized/churned"].data_version


def test_predictions_follow_the_alias_whoever_moved_it(copied: Shop) -> None:
    before = copied.record("served/predictions_churned").stored
    assert (before.rows > 0, before.facts["champion"]) == (True, "1")
    copied.tracker.client.delete_registered_model_alias("shop-churned", "champion")
    code, output = train(copied)
    assert code == 0, output
    assert copied.record("served/predictions_churned").stored.rows == 0


def test_a_worse_challenger_is_not_promoted_and_the_champion_goes_on(copied: Shop) -> None:
    copied.say("epochs: 3", "epochs: 1")
    copied.say("lr: 0.01", "lr: 0.0000001")
    before = copied.records()
    code, output = train(copied)
    assert code == 0, output
    promotion = read_promotion(copied.project, "churned")
    assert (promotion.version, promotion.champion_before, promotion.champion_after) == (
        "2", "1", "1",
    )  # fmt: skip
    assert "champion 1 (" in output
    after = copied.records()
    assert (
        after["served/predictions_churned"].data_version
        == before["served/predictions_churned"].data_version
    )
    assert (
        after["evaluated/baselines_churned"].run_id == before["evaluated/baselines_churned"].run_id
    )


# The same artifact, whoever runs it


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The same shop, killed in its training and finished by Dagster's own command."""
    shop = small_shop(tmp_path_factory.mktemp("dagster"))
    shutil.copy(REPOSITORY / "dagster.yaml", shop.home / "dagster")
    held = (
        "import time\n"
        "from pathlib import Path\n"
        "from nexus_pipeline import progress, run\n"
        "progress.TrainingWatch.epoch = lambda *_: (print('HELD', flush=True), time.sleep(600))\n"
        "run.materialize(Path('nexusflow.yaml'))\n"
    )
    process = command("-c", held, shop=shop, start_new_session=True)
    assert any(line.startswith("HELD") for line in process.stdout), "training never began"
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    process.stdout.close()
    assert "trained/churned" not in shop.records()
    process = command(
        "-m", "dagster", "asset", "materialize",
        "-m", "nexus_pipeline.definitions", "--select", "*", shop=shop,
    )  # fmt: skip
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told
    return shop


def test_a_killed_training_goes_on_where_it_was(resumed: Shop) -> None:
    assert "trained/churned: resumed at epoch 1" in resumed.log
    assert "raw/orders: unchanged, reused" in resumed.log
    assert not list((resumed.folder / "data/trained/shop/churned/checkpoint").iterdir())


def test_the_command_and_dagster_make_the_same_artifact(made: Shop, resumed: Shop) -> None:
    one, other = (shop.record("optimized/churned").stored for shop in (made, resumed))
    assert one.sha256 == other.sha256
    assert made.artifact.read_bytes() == resumed.artifact.read_bytes()
    assert set(made.records()) == set(resumed.records())


def test_the_run_of_a_killed_process_is_closed_by_the_next(resumed: Shop) -> None:
    def statuses() -> list[str]:
        with dg.DagsterInstance.from_config(str(resumed.home / "dagster")) as instance:
            return sorted(run.status.value for run in instance.get_runs())

    assert statuses() == ["STARTED", "SUCCESS"]
    run_shop(resumed)
    assert statuses() == ["FAILURE", "SUCCESS", "SUCCESS"]
    tracker = resumed.tracker
    runs = tracker.client.search_runs([tracker.experiment_id], max_results=1000)
    assert {run.info.status for run in runs} == {"FINISHED", "KILLED"}


# How a run fails


def test_a_broken_csv_is_named_with_its_line(copied: Shop) -> None:
    copied.change("tickets", "\n", "\n1,2,3,4,5,6\n")
    code, output = train(copied)
    assert code == 3
    assert "tickets.csv" in output
    assert "line 2 has 6 fields" in output


def test_an_unknown_key_is_answered_with_the_nearest(fresh: Shop) -> None:
    fresh.say("epochs", "epoch")
    code, output = train(fresh)
    assert code == 2
    assert "did you mean 'epochs'" in output


def test_a_task_that_is_not_there_is_refused(fresh: Shop) -> None:
    code, output = train(fresh, "--task", "churn")
    assert code == 2
    assert "tasks are churned" in output


def test_labels_that_are_all_the_same_are_refused(copied: Shop) -> None:
    people = copied.raw / "customers.csv"
    head, *rows = people.read_text().splitlines()
    people.write_text("\n".join([head, *(row[:-1] + "1" for row in rows)]) + "\n")
    code, output = train(copied)
    assert code == 3
    assert "customers.churned" in output
    assert "1 different label" in output


def test_a_blocking_check_stops_what_stands_on_it(copied: Shop) -> None:
    before = copied.records()
    copied.change("orders", ",2025-", ",2024-")
    checks = copied.folder / "dbt_like_sql/shop/checks"
    checks.mkdir(parents=True)
    (checks / "nobody_is_older_than_thirty.sql").write_text(
        "select * from aligned.customers where age > 30\n"
    )
    code, output = train(copied)
    assert code == 3
    assert "nobody_is_older_than_thirty" in output
    after = copied.records()
    changed = {key for key in before if after[key] != before[key]}
    assert changed == {"raw/orders", "validated/orders", "aligned/orders", "aligned/database"}


def test_a_model_that_beats_nobody_is_not_served(copied: Shop) -> None:
    """Without a champion there are no predictions; the run says so and ends well."""
    client = copied.tracker.client
    client.delete_registered_model("shop-churned")
    copied.say("epochs: 3", "epochs: 1")
    copied.say("lr: 0.01", "lr: 0.0000001")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "ENTITY_BASELINES", ("lightgbm_aggregates",))
        code, output = train(copied)
    assert code == 0, output
    assert "champion none (does not beat lightgbm_aggregates on validation)" in output
    assert copied.record("served/predictions_churned").stored.rows == 0
    assert set(client.get_registered_model("shop-churned").aliases) == {"challenger"}


def test_an_evaluation_of_another_artifact_opens_no_gate(copied: Shop) -> None:
    path = copied.folder / "data/evaluated/shop/churned/evaluation.json"
    evaluation = Evaluation.model_validate_json(path.read_text())
    other = evaluation.model_copy(update={"artifact_sha256": "0" * 64})
    path.write_text(other.model_dump_json())
    client = copied.tracker.client
    client.delete_registered_model_alias("shop-churned", "champion")
    _, promotion = serve_task.promote_task(
        copied.project, "churned", copied.tracker.uri, lambda what, facts: ""
    )
    assert promotion.champion_after is None
    assert "another artifact" in promotion.reason
