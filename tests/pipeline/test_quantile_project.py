"""Quantiles from raw tables to what is served: a column, and a question in time."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from nexus_model import load_model
from nexus_model.schema import DataError, TaskKind
from nexus_pipeline import cli
from nexus_pipeline.defs.aligned import SqlProject, aligned_makings
from nexus_pipeline.monitor.live import predicted
from nexus_pipeline.monitor.observed import as_predictions
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.serving.input_schema import openapi
from nexus_pipeline.steps import boosting, plan
from nexus_pipeline.steps.align import (
    align_table,
    index_task,
    lay_cutoffs,
    lay_samples,
    read_recipe,
    read_task,
    relate_tables,
)
from nexus_pipeline.steps.baselines import run_baselines
from nexus_pipeline.steps.champion import read_promotion
from nexus_pipeline.steps.gate import ENTITY_BASELINES
from nexus_pipeline.steps.stored import aligned_view
from nexus_pipeline.steps.tokenize_task import open_tensors_of, tokenize_task
from nexus_pipeline.steps.train_task import judged_predictions, train_task
from nexus_pipeline.storage import Store
from tests.pipeline.conftest import Shop, in_its_home, small_shop

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
COLUMNS = ["quantile_0.05", "quantile_0.5", "quantile_0.9"]
PROJECT = """\
project_name: shop
target:
  target_table: customers
  target_column: age
  kind: quantile
  quantiles: [0.05, 0.5, 0.9]
datasets:
  - {name: customers.csv, primary_key: customer_id, ignore_columns: churned}
  - name: orders.csv
    primary_key: order_id
    time_column: placed_at
    foreign_keys: [{columns: customer_id, references_table: customers}]
training: {epochs: 8, batch_size: 32, optimizer: {lr: 0.01, warmup_steps: 2}}
architecture: {global_embed_dim: 16, heads: 2, refinement_iterations: 1}
"""
LABELS = """\
select people.id, cutoffs.cutoff, coalesce(sum(visits.paid), 0) as label
from aligned.cutoffs_%s as cutoffs
cross join aligned.people as people
left join aligned.visits as visits on visits.person = people.id
    and visits.at > cutoffs.cutoff and visits.at <= cutoffs.window_end
group by people.id, cutoffs.cutoff
"""
TASKS = {
    "spent": {"sql": "money", "also_predict": "much"},
    "much": {"sql": "much_money", "quantiles": [0.9]},
}


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    """One configuration of few trees."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(boosting, "GRID", boosting.GRID[:1])
        patched.setattr(boosting, "MOST_TREES", 20)
        yield


def told(shop: Shop, *words: str) -> str:
    """What the command says in this process."""
    patch = in_its_home(shop)
    try:
        found = CliRunner().invoke(cli.app, list(words))
    finally:
        patch.undo()
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose customers are the older the further west they live, after a run."""
    found = small_shop(tmp_path_factory.mktemp("quantile"))
    found.file.write_text(PROJECT, encoding="utf-8")
    people = pl.read_csv(found.raw / "customers.csv")
    west = pl.col("region").rank("dense").cast(pl.Int64) * 100
    people.with_columns(age=pl.col("age") + west).write_csv(found.raw / "customers.csv")
    assert "shop/age: pinball (lower is better)" in told(
        found, "train", "--project", str(found.file)
    )
    return found


def made(shop: Shop, name: str) -> Path:
    """A file of the run."""
    return shop.folder / "data" / name


def never_cross(table: pl.DataFrame) -> bool:
    """Whether the quantiles of every row rise, and the middle one is the prediction."""
    values = table.select(COLUMNS).to_numpy()
    middle = (table["prediction"] == table["quantile_0.5"]).all()
    return bool((np.diff(values, axis=1) >= 0).all() and middle)


def test_the_report_tells_pinball_loss_beside_baselines_and_coverage(shop: Shop) -> None:
    found = json.loads(made(shop, "evaluated/shop/age/metrics.json").read_text("utf-8"))
    own = next(model for model in found["models"] if model["name"] == "nexusformer")
    names = [measured["metric"] for measured in own["test"]]
    assert names == ["pinball", "coverage_error", "interval_width", "mae"]
    assert all(m["low"] <= m["estimate"] <= m["high"] for m in own["test"])
    assert {"training_quantiles", "lightgbm_aggregates"} <= {m["name"] for m in found["models"]}
    assert [one["level"] for one in found["coverage"]["levels"]] == [0.05, 0.5, 0.9]
    page = made(shop, "evaluated/shop/age/report.html").read_text("utf-8")
    assert "<h2>Coverage</h2>" in page
    assert "the quantiles 0.05, 0.5, 0.9 of" in page


def test_a_model_that_beats_the_training_quantiles_serves(shop: Shop) -> None:
    promotion = read_promotion(shop.project, "age")
    assert promotion.reason == "beats training_quantiles on validation"
    served = pl.read_parquet(made(shop, "served/shop/age/predictions/predictions.parquet"))
    assert served.height > 100
    assert never_cross(served)


def test_predict_gives_the_columns_promised(shop: Shop, tmp_path: Path) -> None:
    file = str(made(shop, "optimized/shop/age/model.nxf"))
    out = tmp_path / "said.csv"
    told(shop, "predict", "--model", file, "--data", str(shop.raw), "--output", str(out))
    found = pl.read_csv(out)
    assert found.columns[:5] == ["customer_id", "prediction", *COLUMNS]
    assert never_cross(found)
    small = load_model(made(shop, "optimized/shop/age/model-int8.nxf"))
    assert small.artifact.recipe.task.quantiles == (0.05, 0.5, 0.9)
    sizes = json.loads(made(shop, "optimized/shop/age/report.json").read_text("utf-8"))
    assert sizes["metric"] == "pinball"
    schema = openapi(small.artifact, has_token=False)["components"]["schemas"]["Answer"]
    outputs = schema["properties"]["predictions"]["items"]["properties"]["outputs"]
    assert list(outputs["properties"]) == COLUMNS


def test_monitoring_compares_the_middle_and_measures_them_all(shop: Shop) -> None:
    table = load_model(made(shop, "optimized/shop/age/model.nxf")).predict(
        {name: pl.read_csv(shop.raw / f"{name}.csv") for name in ("customers", "orders")}
    )
    task = load_model(made(shop, "optimized/shop/age/model.nxf")).artifact.recipe.task
    every = predicted(task, table)
    assert every.shape == (table.num_rows, 3)
    assert as_predictions(task, every).tolist() == table["prediction"].to_pylist()


def in_time(root: Path) -> ProjectConfig:
    """People, their visits, and what they pay."""
    return ProjectConfig(
        project_name="p",
        datasets=[
            {"name": "people", "primary_key": "id"},
            {
                "name": "visits", "primary_key": "visit", "time_column": "at",
                "foreign_keys": [{"columns": "person", "references_table": "people"}],
            },
        ],
        tasks=[
            {"name": name, "entity_table": "people", "kind": "quantile", "horizon_days": 10,
             **more}
            for name, more in TASKS.items()
        ],
        split={"validation_from": "2020-03-01", "test_from": "2020-04-01"},
        training={"epochs": 1, "batch_size": 64},
        architecture={"global_embed_dim": 8, "heads": 2, "head_members": 2},
        root=root,
    )  # fmt: skip


def aligned_in_time(asked: ProjectConfig) -> Store:
    """A store with the samples of both tasks."""
    store = Store(asked.root / "store.duckdb", threads=1)
    rng, people, visits = np.random.default_rng(0), 20, 300
    days = pl.datetime(2020, 1, 1) + pl.duration(days=pl.Series(rng.integers(0, 121, visits)))
    store.replace("validated.people", pl.DataFrame({"id": range(people)}))
    rows = {"visit": range(visits), "person": rng.integers(0, people, visits)}
    rows["paid"] = rng.gamma(2, 10, visits)
    store.replace("validated.visits", pl.DataFrame(rows).with_columns(days.alias("at")))
    for name in ("people", "visits"):
        align_table(asked, name, None, store)
    relate_tables(asked, store)
    for name, chosen in TASKS.items():
        lay_cutoffs(asked, name, store)
        with store.write() as con:
            con.execute(f"create table aligned.{chosen['sql']} as {LABELS % name}")
        lay_samples(asked, read_task(asked, name, store), store)
    return store


@pytest.mark.parametrize(("task", "levels"), [("spent", (0.1, 0.5, 0.9)), ("much", (0.9,))])
def test_a_question_in_time_has_its_quantiles(tmp_path: Path, task: str, levels: tuple) -> None:
    asked = in_time(tmp_path)
    store, models = aligned_in_time(asked), {TASKS[task]["sql"]: LABELS % task}
    index_task(asked, read_task(asked, task, store), (), models, store)
    tokenize_task(asked, task, store)
    log = ProgressLog(tmp_path / "log.txt", io.StringIO())
    facts = train_task(asked, task, store, "f", log).facts
    assert ("validation_pinball/much" in facts) == (task == "spent")
    recipe, said_BY = read_recipe(asked, task), judged_predictions(asked, task)
    assert recipe.task.quantiles == levels
    assert said_BY.shape[1] == len(levels)
    assert (np.diff(said_BY, axis=1) >= 0).all()
    with aligned_view(store, recipe.database) as con:
        found = {b.name: b.prediction for b in run_baselines(con, recipe.database, recipe.task)}
    samples = len(open_tensors_of(asked, task)[0].label_B)
    assert {prediction.shape for prediction in found.values()} == {(samples, len(levels))}
    assert set(found) - {"lightgbm_entity", "lightgbm_aggregates"} < {*ENTITY_BASELINES}


def test_other_quantiles_make_the_recipe_anew(tmp_path: Path) -> None:
    asked = in_time(tmp_path)
    spent, much = asked.tasks
    others = spent.model_copy(update={"quantiles": (0.2, 0.8)})
    one, two = (
        {making.key: making.config for making in aligned_makings(project, SqlProject({}, {}))}
        for project in (asked, asked.model_copy(update={"tasks": (others, much)}))
    )
    assert {key for key in one if one[key] != two[key]} == {"p/aligned/index_spent"}


def test_a_label_that_is_no_number_has_no_quantiles(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb", threads=1)
    store.replace("aligned.people", pl.DataFrame({"id": [1, 2, 3], "town": ["1", "Ulm", None]}))
    with store.read() as con, pytest.raises(DataError, match=r"declared quantile.*1 row.*Ulm"):
        plan.column_task(con, "people", "town", TaskKind.QUANTILE)
