"""Monitoring of the shop: silent on what the champion knows, and naming what moved since."""

import json
import re

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from nexus_model.schema import ConfigurationError
from nexus_pipeline import cli
from nexus_pipeline.assembly import all_makings, build_definitions
from nexus_pipeline.defs.making import EVERYTHING, MONITORING
from nexus_pipeline.defs.monitored import check_day
from nexus_pipeline.monitor.summary import drift_alarm, drift_folder
from nexus_pipeline.project import load_project
from nexus_pipeline.settings.monitoring import MonitoringConfig
from tests.pipeline.conftest import REPOSITORY, Shop, in_its_home

pytestmark = [pytest.mark.filterwarnings("ignore")]
slow = pytest.mark.slow
SECTION = {"monitoring": MonitoringConfig()}


def told(shop: Shop, *words: str) -> Result:
    """The command in this process."""
    patch = in_its_home(shop)
    try:
        return CliRunner().invoke(cli.app, ["monitor", *words])
    finally:
        patch.undo()


def shifted(shop: Shop) -> None:
    """Amounts half as large again, and a region most customers moved to."""
    orders, customers = shop.raw / "orders.csv", shop.raw / "customers.csv"
    pl.read_csv(orders).with_columns(pl.col("amount") * 1.5).write_csv(orders)
    moved = pl.when(pl.col("customer_id") % 2 == 0).then(pl.lit("north"))
    named = moved.otherwise(pl.col("region")).alias("region")
    pl.read_csv(customers).with_columns(named).write_csv(customers)


def files(shop: Shop) -> dict[str, bytes]:
    """What monitoring wrote."""
    folder = drift_folder(shop.project, "churned")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@slow
def test_monitoring_is_silent_then_names_exactly_what_moved(copied):
    quiet = told(copied, "--json")
    assert quiet.exit_code == 0, quiet.output
    assert drift_alarm(copied.project, "churned").moved == ()
    version = drift_alarm(copied.project, "churned").data_version
    shifted(copied)
    loud = told(copied, "--json")
    assert loud.exit_code == 1, loud.output
    found = drift_alarm(copied.project, "churned")
    assert set(found.moved) == {"customers.region", "orders.amount"}
    assert found.alarm
    assert found.data_version == copied.record("aligned/database").data_version != version
    page = files(copied)["drift.html"].decode()
    assert re.search(r"<p>(customers.region, orders.amount|orders.amount, customers.region)", page)
    assert "| orders.amount | ks |" in copied.record("evaluated/drift_churned").shown["drift"]


@slow
def test_the_same_tables_give_the_same_bytes_and_nothing_else_is_made_anew(copied):
    before = copied.records()
    assert told(copied).exit_code == 0
    first = files(copied)
    path = next((copied.folder / "data/records/shop").glob("*drift_churned*"))
    path.unlink()
    assert told(copied).exit_code == 0
    assert files(copied) == first
    assert set(first) == {
        "drift.html", "drift.json", "drift.prom", "novelty.parquet", "summary.json"
    }  # fmt: skip
    assert {key: copied.record(key) for key in before} == before
    assert (copied.home / "metrics/shop_churned.prom").read_bytes() == first["drift.prom"]


@slow
def test_without_a_reference_nothing_is_said_of_a_task_without_time(copied):
    shifted(copied)
    patch = in_its_home(copied)
    try:
        from nexus_pipeline.run import materialize

        materialize(copied.file, stages=("raw",))
    finally:
        patch.undo()
    late = json.loads(told(copied, "--json").stdout)["churned"]
    assert (late["alarm"], late["tests"]) == (False, 0)
    assert "train again" in late["notes"][0]


@pytest.mark.parametrize("day", ["2018-12-31", "2999-01-01", "yesterday"])
def test_a_day_that_cannot_be_monitored_is_refused(day):
    project = load_project(REPOSITORY / "nexusflow.yaml")
    check_day(project, "2019-06-01")
    with pytest.raises(ConfigurationError, match="--day"):
        check_day(project, day)


def test_a_task_without_time_has_no_days(fresh):
    check_day(fresh.project, "")
    with pytest.raises(ConfigurationError, match="has no days"):
        check_day(fresh.project, "2026-01-01")


def test_the_section_puts_assets_into_the_graph_and_changes_no_other():
    project = load_project(REPOSITORY / "nexusflow.yaml")
    plain = {making.key: making for making in all_makings(project)}
    asked = {making.key: making for making in all_makings(project.model_copy(update=SECTION))}
    added = asked.keys() - plain.keys()
    tasks = project.task_names
    assert added == {f"f1/evaluated/drift_{task}" for task in tasks} | {
        f"f1/served/reference_{task}" for task in tasks
    }
    for key, making in plain.items():
        same = asked[key]
        assert (making.config, making.code, making.upstream, making.job) == (
            same.config, same.code, same.upstream, same.job
        )  # fmt: skip


def test_the_job_reads_tables_predicts_its_day_and_trains_nothing():
    project = load_project(REPOSITORY / "nexusflow.yaml").model_copy(update=SECTION)
    job = build_definitions(project).resolve_job_def(f"f1_{MONITORING}")
    names = {"/".join(key.path) for key in job.asset_layer.selected_asset_keys}
    assert {"f1/raw/races", "f1/served/predictions_daily_dnf", "f1/evaluated/drift_dnf"} <= names
    stages = {name.split("/")[1] for name in names}
    assert stages == {"raw", "validated", "aligned", "served", "evaluated"}
    assert not names & {"f1/evaluated/dnf", "f1/served/champion_dnf", "f1/served/reference_dnf"}
    [drift] = [making for making in all_makings(project) if making.key.endswith("drift_dnf")]
    assert drift.daily_from == project.split.test_from
    assert not drift.is_in(EVERYTHING)
