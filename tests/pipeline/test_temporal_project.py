"""A project in time: labels by SQL, two tasks, Parquet beside CSV, every encoder."""

import datetime as dt
import json
import shutil
from pathlib import Path

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from nexus_model import load_model
from nexus_model.schema import DataError
from nexus_pipeline import cli
from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.project import load_project
from nexus_pipeline.run import dagster_instance
from nexus_pipeline.steps.champion import read_promotion
from tests.pipeline.conftest import Shop, in_its_home, small_shop

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
PROJECT = """\
project_name: shop
datasets:
  - {name: customers.csv, primary_key: customer_id, ignore_columns: churned}
  - name: orders.csv
    primary_key: order_id
    time_column: placed_at
    transformer_type: timeseries
    foreign_keys: [{columns: customer_id, references_table: customers}]
  - name: tickets.parquet
    primary_key: ticket_id
    time_column: opened_at
    transformer_type: ft_transformer
    foreign_keys: [{columns: customer_id, references_table: customers}]
tasks:
  - {name: again, entity_table: customers, kind: binary, horizon_days: 20, sql: orders_again}
  - name: spent
    entity_table: customers
    kind: regression
    horizon_days: 20
    sql: money_spent
    regimes: [seed_time, frozen]
split: {validation_from: 2025-09-22, test_from: 2025-11-01}
tokenization: {numerical: quantile}
training: {epochs: 2, batch_size: 128, optimizer: {lr: 0.01, warmup_steps: 2}, refit: true}
ensemble: {seeds: 2, judged_seeds: 1}
architecture: {global_embed_dim: 16, heads: 2, cohort_attention: true}
"""
LABELS = """\
select customers.customer_id, cutoffs.cutoff, %s as label
from aligned.cutoffs_%s as cutoffs
cross join aligned.customers as customers
left join aligned.orders as orders on orders.customer_id = customers.customer_id
    and orders.placed_at > cutoffs.cutoff and orders.placed_at <= cutoffs.window_end
group by customers.customer_id, cutoffs.cutoff
"""
LARGE = "select *, amount > 50 as is_large from validated.orders"
CUTOFF = "2025-11-01"


def in_time(parent: Path) -> Shop:
    """The shop, asked at moments: who orders again, and for how much."""
    shop = small_shop(parent)
    shop.file.write_text(PROJECT, encoding="utf-8")
    tickets = shop.raw / "tickets.csv"
    pl.read_csv(tickets, try_parse_dates=True).write_parquet(shop.raw / "tickets.parquet")
    tickets.unlink()
    sql = shop.folder / "dbt_like_sql/shop/aligned"
    sql.mkdir(parents=True)
    (sql / "orders.sql").write_text(LARGE, encoding="utf-8")
    again, spent = "cast(count(orders.order_id) > 0 as integer)", "coalesce(sum(amount), 0)"
    (sql / "orders_again.sql").write_text(LABELS % (again, "again"), encoding="utf-8")
    (sql / "money_spent.sql").write_text(LABELS % (spent, "spent"), encoding="utf-8")
    return shop


def told(shop: Shop, *words: str) -> Result:
    """The command in this process."""
    patch = in_its_home(shop)
    try:
        return CliRunner().invoke(cli.app, list(words))
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, set[str]]:
    """One task made, then the other; and what there was in between."""
    shop = in_time(tmp_path_factory.mktemp("time"))
    one = told(shop, "train", "--task", "again", "--project", str(shop.file))
    assert one.exit_code == 0, one.output
    between = set(shop.records())
    both = told(shop, "train", "--project", str(shop.file))
    assert both.exit_code == 0, both.output
    return shop, between


@pytest.fixture
def shop(first: tuple[Shop, set[str]]) -> Shop:
    return first[0]


def artifact(shop: Shop, task: str) -> Path:
    return shop.folder / f"data/optimized/shop/{task}/model.nxf"


def predicted(shop: Shop, output: Path, *more: str) -> Result:
    words = ["--model", str(artifact(shop, "again")), "--data", str(shop.raw)]
    return told(shop, "predict", *words, "--output", str(output), *more)


def test_one_task_is_made_without_the_other(first: tuple[Shop, set[str]]) -> None:
    shop, between = first
    assert {"served/predictions_again", "aligned/orders_again"} <= between
    rest = set(shop.records()) - between
    of_one = {
        "aligned/samples_", "aligned/index_", "tokenized/", "trained/", "optimized/",
        "evaluated/baselines_", "evaluated/", "served/registered_", "served/champion_",
        "served/predictions_",
    }  # fmt: skip
    regimes = {f"{name}{task}" for name in of_one for task in ("spent", "spent_frozen")}
    assert rest == {"aligned/money_spent", "aligned/cutoffs_spent"} | regimes
    assert "aligned/orders_again: unchanged, reused" in shop.log


def test_every_task_has_its_own_metric_and_model(shop: Shop) -> None:
    for task, metric in (("again", "auroc"), ("spent", "mae"), ("spent_frozen", "mae")):
        folder = shop.folder / "data/evaluated/shop" / task
        evaluation = json.loads((folder / "evaluation.json").read_text())
        assert evaluation["metric"] == metric
        assert {"nexusformer", "entity_mean", "lightgbm_aggregates"} <= set(
            evaluation["by_split"]["test"]
        )
        assert read_promotion(shop.project, task).version == "1"


def samples_of(shop: Shop, task: str) -> pl.DataFrame:
    """Samples of a task, in order."""
    with duckdb.connect(str(shop.folder / "data/raw/shop.duckdb"), read_only=True) as con:
        return con.sql(f"select * from aligned.samples_{task} order by sample").pl()


def test_regimes_ask_the_same_and_differ_in_what_is_known(shop: Shop) -> None:
    live, frozen = (samples_of(shop, task) for task in ("spent", "spent_frozen"))
    asked = ["customer_id", "cutoff", "label", "split"]
    fresh = frozen.filter(pl.col("split") != "refit").unique(asked, maintain_order=True)
    assert live.select(asked).equals(fresh.select(asked))
    assert (live["as_of"] == live["cutoff"]).all()
    tested = frozen.filter(split="test")
    assert tested["as_of"].unique().to_list() == [dt.datetime(2025, 11, 1)]
    assert tested["cutoff"].n_unique() > 1
    trained = frozen.filter(split="train")
    assert len(trained) == 3 * len(live.filter(split="train"))
    assert (trained["as_of"] < trained["cutoff"]).any()


def test_a_frozen_task_reads_no_row_later_than_its_split(shop: Shop) -> None:
    model = load_model(artifact(shop, "spent_frozen"))
    raw = raw_frames(shop)
    old = model.predict(raw, cutoff="2025-12-20", as_of=CUTOFF)
    assert old.equals(model.predict(known_by(CUTOFF, raw), cutoff="2025-12-20", as_of=CUTOFF))
    assert not old.equals(model.predict(raw, cutoff="2025-12-20"))


def test_some_may_be_asked_about_and_none_that_is_not_there(shop: Shop) -> None:
    model, raw = load_model(artifact(shop, "spent")), raw_frames(shop)
    every = model.predict(raw, cutoff=CUTOFF)
    keys = every["customer_id"].to_pylist()[5:8]
    some = model.predict(raw, cutoff=CUTOFF, entities=reversed(keys))
    assert some["customer_id"].to_pylist() == keys
    assert some.equals(model.predict(raw, cutoff=CUTOFF, entities=keys))
    # Those asked together read each other, so three answer otherwise than all.
    assert some["prediction"] != every["prediction"][5:8]
    with pytest.raises(DataError, match="nobody"):
        model.predict(raw, cutoff=CUTOFF, entities=["nobody"])


def raw_frames(shop: Shop) -> dict[str, pl.DataFrame]:
    """The raw tables."""
    return {
        "customers": pl.read_csv(shop.raw / "customers.csv"),
        "orders": pl.read_csv(shop.raw / "orders.csv", try_parse_dates=True),
        "tickets": pl.read_parquet(shop.raw / "tickets.parquet"),
    }


def known_by(moment: str, raw: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The tables without what came after a moment."""
    return raw | {
        name: raw[name].filter(pl.col(column) <= pl.lit(moment).str.to_date())
        for name, column in (("orders", "placed_at"), ("tickets", "opened_at"))
    }


def test_batch_predictions_are_for_the_latest_moment(shop: Shop) -> None:
    for task in ("again", "spent"):
        facts = shop.record(f"served/predictions_{task}").stored.facts
        if "not_predicted" not in facts:
            assert facts["cutoff"].startswith("2025-12-")


def predicted_daily(shop: Shop, day: str) -> Path:
    """One partition of the daily predictions, made through Dagster; its folder."""
    patch = in_its_home(shop)
    try:
        project = load_project(shop.file)
        # Whether the gate was open does not matter here: somebody has to be champion.
        shop.tracker.client.set_registered_model_alias("shop-again", "champion", "1")
        job = build_definitions(project).resolve_job_def("shop_batch")
        with dagster_instance(project) as instance:
            key = dg.AssetKey(["shop", "served", "predictions_daily_again"])
            done = job.execute_in_process(
                partition_key=day, instance=instance, asset_selection=[key]
            )
        assert done.success
    finally:
        patch.undo()
    return shop.folder / f"data/served/shop/again/as_of_{day}"


def test_predictions_of_a_day_see_nothing_later_and_are_the_same_again(shop: Shop) -> None:
    folder = predicted_daily(shop, CUTOFF)
    first = (folder / "predictions.parquet").read_bytes()
    found = pl.read_parquet(folder / "predictions.parquet")
    known = known_by(CUTOFF, raw_frames(shop))
    asked = found["customer_id"].to_list()
    model = load_model(artifact(shop, "again"))
    told = pl.from_arrow(model.predict(known, cutoff=CUTOFF, entities=asked))
    assert found["customer_id"].to_list() == told["customer_id"].to_list()
    np.testing.assert_allclose(found["prediction"], told["prediction"], atol=1e-6)
    told_of = {flag.split(":")[0] for flags in found["flags"] for flag in flags}
    assert told_of <= {"no_history", "at_row_limit", "unknown_category"}
    shutil.rmtree(folder)
    predicted_daily(shop, CUTOFF)
    assert (folder / "predictions.parquet").read_bytes() == first


def test_a_day_is_predicted_once_until_something_changes(shop: Shop) -> None:
    folder = predicted_daily(shop, "2025-11-20")
    made = (folder / "predictions.parquet").stat().st_mtime_ns
    predicted_daily(shop, "2025-11-20")
    assert (folder / "predictions.parquet").stat().st_mtime_ns == made
    days = {path.name for path in folder.parent.glob("as_of_*")}
    assert f"as_of_{CUTOFF}" in days, "days are kept beside each other"


def test_a_prediction_sees_nothing_later_than_its_cutoff(shop: Shop) -> None:
    model = load_model(artifact(shop, "again"))
    raw = raw_frames(shop)
    known = known_by(CUTOFF, raw)
    assert known["orders"].height < raw["orders"].height
    whole, cut = (model.predict(frames, cutoff=CUTOFF) for frames in (raw, known))
    assert whole.equals(cut)
    later = model.predict(raw, cutoff="2025-12-20")
    assert not later.equals(whole)


@pytest.mark.parametrize("cutoff", [CUTOFF, "2025-11-01T00:00:00", "2025-11-01T02:00:00+02:00"])
def test_a_cutoff_may_be_written_in_several_ways(shop: Shop, tmp_path: Path, cutoff: str) -> None:
    for name, asked in (("one.csv", CUTOFF), ("other.csv", cutoff)):
        done = predicted(shop, tmp_path / name, "--cutoff", asked)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()


def test_a_cutoff_that_is_no_moment_is_exit_code_2(shop: Shop, tmp_path: Path) -> None:
    done = predicted(shop, tmp_path / "p.csv", "--cutoff", "soon")
    assert done.exit_code == 2
    assert "ISO 8601" in done.output


def test_a_missing_cutoff_is_exit_code_3(shop: Shop, tmp_path: Path) -> None:
    done = predicted(shop, tmp_path / "p.csv")
    assert done.exit_code == 3
    assert "cutoff" in done.output


def test_validate_prints_what_was_accepted_and_why_not(shop: Shop) -> None:
    done = told(shop, "validate", "--project", str(shop.file))
    assert done.exit_code == 0, done.output
    assert "quarantined" in done.output
    assert "0-0" in done.output


def test_an_ensemble_is_made_when_it_is_asked_for(shop: Shop) -> None:
    assert "evaluated/ensemble_spent" not in shop.records()
    done = told(shop, "ensemble", "--task", "spent", "--project", str(shop.file))
    assert done.exit_code == 0, done.output
    assert "nexusformer_ensemble" in done.output
    folder = shop.folder / "data/evaluated/shop/ensemble_spent"
    samples, made = samples_of(shop, "spent"), json.loads((folder / "ensemble.json").read_text())
    predicted = {file.stem: np.load(file) for file in folder.glob("[!m]*.npy")}
    tested = (samples["split"] == "test").to_numpy()
    both = predicted["nexusformer"][:, tested]
    assert both.shape[0] == 2
    assert (both[0] != both[1]).any()
    np.testing.assert_allclose(predicted["nexusformer_ensemble"][0, tested], both.mean(axis=0))
    weight, boosted = made["weight"], predicted["lightgbm_aggregates"][:, tested].mean(axis=0)
    mixed = weight * both.mean(axis=0) + (1 - weight) * boosted
    np.testing.assert_allclose(predicted["stack"][0, tested], mixed)
    assert [run["validation"] is None for run in made["trainings"]] == [False, True]
    errors = np.abs(predicted["stack"][0] - samples["label"].to_numpy())[tested]
    score = next(score for score in made["scores"] if score["name"] == "stack")
    assert score["test"]["estimate"] == pytest.approx(errors.mean())


def test_evaluate_prints_the_comparison(shop: Shop) -> None:
    done = told(shop, "evaluate", "--task", "spent", "--project", str(shop.file))
    assert done.exit_code == 0, done.output
    assert "shop/spent: mae (lower is better)" in done.output
    assert "shop/again" not in done.output


@pytest.mark.parametrize(
    ("model", "sql", "code", "said"),
    [
        (
            "orders_again",
            "select customer_id, cutoff from aligned.cutoffs_again, aligned.customers",
            3,
            "'label'",
        ),
        ("orders_again", "select * from validated.order", 2, "validated.order"),
        ("orders_again", "delete from validated.orders", 2, "SELECT"),
        (
            "customers",
            "select distinct customer_id, 'x' as mood from validated.orders"
            " union all select 9001, 'y'",
            3,
            "gives 1 entities the file does not have, such as (9001,)",
        ),
    ],
)
def test_a_wrong_model_is_refused(
    shop: Shop, tmp_path: Path, model: str, sql: str, code: int, said: str
) -> None:
    shutil.copytree(shop.folder, tmp_path / "shop")
    shutil.copytree(shop.home, tmp_path / "home")
    shop = Shop(tmp_path / "shop", tmp_path / "home")
    (shop.folder / f"dbt_like_sql/shop/aligned/{model}.sql").write_text(sql)
    done = told(shop, "train", "--project", str(shop.file))
    assert (done.exit_code, said in done.output) == (code, True), done.output
