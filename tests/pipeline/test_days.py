"""A partition a day: labels by the task's own model, and late data touches the days that see it."""

import datetime as dt
import random
import shutil

import dagster as dg
import polars as pl
import pytest

from nexus_pipeline.assembly import all_makings, build_definitions
from nexus_pipeline.automation.late_data import stale_days
from nexus_pipeline.defs.making import Making, versions_read
from nexus_pipeline.defs.resources import default_resources, workshop
from nexus_pipeline.run import dagster_instance, materialize
from nexus_pipeline.steps import suite
from nexus_pipeline.steps.align import read_database
from nexus_pipeline.steps.daily_labels import label_folder
from nexus_pipeline.steps.day_version import day_versions
from tests.pipeline.conftest import Shop, in_its_home
from tests.pipeline.test_temporal_project import in_time

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
DAYS = ("2025-11-05", "2025-11-25", "2025-11-12")
ALIGNED = ("raw", "validated", "aligned")
LABELS = "shop/aligned/labels_daily_again"


@pytest.fixture(scope="module")
def aligned(tmp_path_factory) -> Shop:
    """A shop in time whose tables were made, and nothing was trained."""
    shop = in_time(tmp_path_factory.mktemp("days"))
    text = shop.file.read_text("utf-8")
    cut = text.index("  - name: spent"), text.index("split: {")
    shop.file.write_text(text[: cut[0]] + text[cut[1] :], encoding="utf-8")
    (shop.folder / "dbt_like_sql/shop/aligned/money_spent.sql").unlink()
    within(shop, lambda: materialize(shop.file, stages=ALIGNED))
    return shop


@pytest.fixture
def shop(aligned, tmp_path) -> Shop:
    """The same at another place, to be changed."""
    shutil.copytree(aligned.folder, tmp_path / "shop")
    shutil.copytree(aligned.home, tmp_path / "home")
    return Shop(tmp_path / "shop", tmp_path / "home")


def within(shop: Shop, work):
    """Work in the shop's home, without the pages of the training table's suite: they cost most."""
    patch = in_its_home(shop)
    passed = suite.SuiteReport(success=True, results=(), docs=shop.folder)
    patch.setattr(suite, "check_training_table", lambda *_, **__: passed)
    try:
        return work()
    finally:
        patch.undo()


def making_of(shop: Shop, key: str) -> Making:
    return next(making for making in all_makings(shop.project) if making.key == key)


def room_of(shop: Shop):
    given = default_resources(shop.project)
    return workshop(shop.project, given["store"], given["progress"])


def label(shop: Shop, *days: str) -> dict[str, str]:
    """Make days of labels through Dagster; the content of each."""

    def work() -> None:
        job = build_definitions(shop.project).resolve_job_def("shop_batch")
        asked = [dg.AssetKey(LABELS.split("/"))]
        with dagster_instance(shop.project) as instance:
            for day in days:
                done = job.execute_in_process(
                    partition_key=day, instance=instance, asset_selection=asked
                )
                assert done.success

    within(shop, work)
    return {day: shop.record(f"aligned/labels_daily_again/{day}").stored.sha256 for day in days}


def touched(shop: Shop, key: str = LABELS) -> set[str]:
    """Days the late-data sensor would ask for."""
    return within(shop, lambda: set(stale_days(room_of(shop), making_of(shop, key), "")))


def add_order(shop: Shop, day: str) -> None:
    with (shop.raw / "orders.csv").open("a", encoding="utf-8") as text:
        text.write(f"late-{day},1,{day},9.5\n")
    within(shop, lambda: materialize(shop.file, stages=ALIGNED))


def test_labels_of_a_day_are_what_happened_in_its_window_and_nothing_later(shop):
    label(shop, "2025-11-05")
    found = pl.read_parquet(label_folder(shop.project, "again", "2025-11-05") / "labels.parquet")
    orders = pl.read_csv(shop.raw / "orders.csv", try_parse_dates=True)
    start = dt.date(2025, 11, 5)
    inside = orders.filter(
        (pl.col("placed_at") > start) & (pl.col("placed_at") <= start + dt.timedelta(days=20))
    )
    expected = set(inside["customer_id"].to_list())
    assert set(found.filter(pl.col("label") == 1)["customer_id"]) == expected
    assert found["cutoff"].unique().to_list() == [dt.datetime(2025, 11, 5)]


def test_a_window_that_has_not_closed_has_no_labels_and_says_so(shop):
    label(shop, "2025-12-20")
    stored = shop.record("aligned/labels_daily_again/2025-12-20").stored
    assert (stored.rows, stored.facts["closed"]) == (0, False)


def test_a_day_has_the_same_content_whenever_it_is_made(shop, tmp_path):
    first = label(shop, *DAYS)
    shutil.rmtree(shop.folder / "data/aligned/shop/labels_again")
    again = label(shop, *random.Random(1).sample(DAYS, len(DAYS)))
    assert first == again


def test_late_data_touches_the_days_that_see_it_and_no_other(shop):
    label(shop, *DAYS)
    assert touched(shop) == set()
    add_order(shop, "2025-11-28")
    assert touched(shop) == {"2025-11-25", "2025-11-12"}, "windows of 20 days"
    label(shop, *sorted(touched(shop)))
    assert touched(shop) == set()


def test_a_window_that_closes_is_touched_though_none_of_its_rows_moved(shop):
    label(shop, "2025-12-20")
    with (shop.raw / "orders.csv").open("a", encoding="utf-8") as text:
        text.write("late,1,2026-02-01,9.5\n")
    tickets = pl.read_parquet(shop.raw / "tickets.parquet")
    last = tickets.tail(1).with_columns(
        pl.lit("late").cast(tickets.schema["ticket_id"], strict=False).alias("ticket_id"),
        pl.lit(dt.date(2026, 2, 1)).cast(tickets.schema["opened_at"]).alias("opened_at"),
    )
    if tickets.schema["ticket_id"].is_integer():
        last = last.with_columns(pl.lit(10**6).alias("ticket_id"))
    pl.concat([tickets, last]).write_parquet(shop.raw / "tickets.parquet")
    within(shop, lambda: materialize(shop.file, stages=ALIGNED))
    assert touched(shop) == {"2025-12-20"}


def test_a_prediction_of_a_day_reads_what_came_before_it_and_who_is_asked(shop):
    making = making_of(shop, "shop/served/predictions_daily_again")
    before = within(shop, lambda: {day: versions_read(making, room_of(shop), day) for day in DAYS})
    add_order(shop, "2025-11-08")
    after = within(shop, lambda: {day: versions_read(making, room_of(shop), day) for day in DAYS})
    assert {day for day in DAYS if before[day]["until"] != after[day]["until"]} == {
        "2025-11-25",
        "2025-11-12",
    }
    assert all(before[day]["asked"] == after[day]["asked"] for day in DAYS)


def test_the_version_of_a_day_does_not_depend_on_the_order_of_rows(shop):
    moments = [dt.datetime.fromisoformat(day) for day in DAYS]

    def versions() -> tuple[str, ...]:
        return day_versions(room_of(shop).store, read_database(shop.project), moments)

    before = within(shop, versions)
    path = shop.raw / "orders.csv"
    head, *rows = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([head, *reversed(rows)]) + "\n", encoding="utf-8")
    within(shop, lambda: materialize(shop.file, stages=ALIGNED))
    assert within(shop, versions) == before
    assert len(set(before)) == len(DAYS)


def test_the_sensor_asks_for_the_touched_days_once(shop, tmp_path_factory):
    label(shop, *DAYS)
    add_order(shop, "2025-11-28")

    def tick():
        repository = build_definitions(shop.project).get_repository_def()
        place = str(tmp_path_factory.mktemp("instance"))
        with (
            dg.DagsterInstance.local_temp(place) as instance,
            dg.build_sensor_context(instance, repository_def=repository) as context,
        ):
            return repository.get_sensor_def("shop_late_data").evaluate_tick(context)

    first, second = within(shop, tick), within(shop, tick)
    assert {request.partition_key for request in first.run_requests} == {"2025-11-25", "2025-11-12"}
    assert all("labels_daily" in request.tags["nexusflow.why"] for request in first.run_requests)
    assert [r.run_key for r in first.run_requests] == [r.run_key for r in second.run_requests]
