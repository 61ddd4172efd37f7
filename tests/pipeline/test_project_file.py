"""The project file: every key is consumed or refused; a mistake is answered with what is near."""

from pathlib import Path

import pytest
import yaml

from nexus_model.schema import ConfigurationError
from nexus_pipeline.project import ProjectConfig, load_project
from nexus_pipeline.scaffold import PROJECT_FILE

ROOT = Path(__file__).resolve().parents[2]
STATIC = PROJECT_FILE.format(name="shop")


def loaded(tmp_path: Path, text: str) -> ProjectConfig:
    file = tmp_path / "nexusflow.yaml"
    file.write_text(text, encoding="utf-8")
    return load_project(file)


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as told:
        loaded(tmp_path, text)
    return str(told.value)


def test_twelve_lines_are_a_project(tmp_path):
    assert len(STATIC.strip().splitlines()) == 12
    assert loaded(tmp_path, STATIC).task_names == ("churned",)


def test_the_default_project_loads_with_three_tasks():
    assert load_project(ROOT / "nexusflow.yaml").task_names == ("position", "dnf", "top3")


def test_each_regime_is_a_task_of_its_own(tmp_path):
    text = (ROOT / "nexusflow.yaml").read_text("utf-8")
    both = text.replace("sql: driver_dnf", "sql: driver_dnf, regimes: [seed_time, frozen]")
    assert loaded(tmp_path, both).task_names == ("position", "dnf", "dnf_frozen", "top3")


def test_raw_files_may_be_elsewhere(tmp_path, monkeypatch):
    project = loaded(tmp_path, f"raw_folder: tables\n{STATIC}")
    assert project.raw_path("orders") == tmp_path / "tables" / "orders.csv"
    monkeypatch.setenv("NEXUS_RAW", str(tmp_path / "there"))
    assert project.raw_path("orders") == tmp_path / "there" / "orders.csv"


def test_raw_files_may_be_those_of_a_package(tmp_path):
    project = loaded(tmp_path, f"raw_folder: package:nexus_model/align\n{STATIC}")
    assert project.raw_path("orders") == ROOT / "nexus_model" / "align" / "orders.csv"
    other = loaded(tmp_path, f"raw_folder: package:nowhere_at_all\n{STATIC}")
    with pytest.raises(ConfigurationError, match="nowhere_at_all"):
        other.raw_path("orders")


def test_a_file_name_gives_the_tables_name(tmp_path):
    assert loaded(tmp_path, STATIC).datasets[0].table == "customers"


def test_a_foreign_key_takes_the_referenced_primary_key(tmp_path):
    key = loaded(tmp_path, STATIC).foreign_keys("orders")[0]
    assert key.references_columns == ("customer_id",)


@pytest.mark.parametrize(
    ("extra", "nearest"),
    [
        ("trainin: {epochs: 1}", "training"),
        ("training: {epoch: 1}", "epochs"),
        ("architecture: {global_embed_dims: 8}", "global_embed_dim"),
        ("alignment: {max_deph: 1}", "max_depth"),
        ("split: {test_siz: 0.1}", "test_size"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path, extra, nearest):
    assert f"did you mean {nearest!r}" in refused(tmp_path, f"{STATIC}{extra}\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("target_table: customers", "target_table: custmers", "did you mean 'customers'"),
        ("references_table: customers", "references_table: clients", "names table 'clients'"),
        ("project_name: shop", "project_name: My Shop", "project_name"),
        ("target: {target_table: customers, target_column: churned}\n", "", "either target"),
        ("name: orders.csv", "name: customers.parquet", "different names"),
        (
            "target_column: churned",
            "target_column: churned, quantiles: [0.5]",
            "quantiles belong to kind quantile; kind is not said",
        ),
        (
            "target_column: churned",
            "target_column: churned, kind: regression, quantiles: [0.5]",
            "not to kind regression",
        ),
        (
            "target_column: churned",
            "target_column: churned, kind: quantile, quantiles: [0.9, 0.1]",
            "quantiles must rise between 0 and 1, got [0.9, 0.1]",
        ),
        (
            "target_column: churned",
            "target_column: churned, kind: quantile, quantiles: [0.5, 1]",
            "quantiles must rise between 0 and 1",
        ),
        (
            "target_column: churned",
            "target_column: churned, kind: quantile, quantiles: [0.5, 0.50000001]",
            "first six digits",
        ),
    ],
)
def test_an_impossible_statement_is_refused(tmp_path, old, new, told):
    assert told in refused(tmp_path, STATIC.replace(old, new, 1))


def test_target_and_tasks_together_are_refused(tmp_path):
    task = "{name: t, entity_table: customers, kind: binary, horizon_days: 3, sql: s}"
    assert "not both" in refused(tmp_path, f"{STATIC}tasks: [{task}]\n")


def test_tasks_without_dates_are_refused(tmp_path):
    task = {"name": "t", "entity_table": "customers", "kind": "binary", "horizon_days": 3}
    content = yaml.safe_load(STATIC) | {"tasks": [{**task, "sql": "s"}]}
    del content["target"]
    assert "validation_from" in refused(tmp_path, yaml.safe_dump(content))


@pytest.mark.parametrize(
    "split",
    [
        "{validation_from: 2020-01-01}",
        "{validation_from: 2021-01-01, test_from: 2020-01-01}",
        "{validation_size: 0.6, test_size: 0.5}",
    ],
)
def test_a_split_out_of_order_is_refused(tmp_path, split):
    assert "split" in refused(tmp_path, f"{STATIC}split: {split}\n")


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    refused(tmp_path, text)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigurationError, match="nexusflow init"):
        load_project(tmp_path / "nexusflow.yaml")


def test_a_project_survives_json(tmp_path):
    project = loaded(tmp_path, STATIC)
    again = ProjectConfig.model_validate_json(project.model_dump_json())
    assert again.model_copy(update={"root": project.root}) == project


@pytest.mark.parametrize(
    ("regime", "origin", "told"),
    [
        ("seed_time", "four", "must name another task, got 'four'"),
        ("seed_time", "two", "must name another task, got 'two'"),
        ("seed_time", "three", "three is about orders"),
        ("frozen", "one", "both tasks must have this regime"),
        ("seed_time", "five", "five itself starts from another"),
    ],
)
def test_a_task_starts_only_from_one_it_can_start_from(tmp_path, regime, origin, told):
    content = yaml.safe_load(STATIC)
    del content["target"]
    task = {"entity_table": "customers", "kind": "binary", "horizon_days": 5, "sql": "a"}
    content["tasks"] = [
        {"name": "one", **task},
        {"name": "two", **task, "start_from": {regime: origin}},
        {"name": "three", **task, "entity_table": "orders"},
        {"name": "five", **task, "start_from": {"seed_time": "one"}},
    ]
    content["split"] = {"validation_from": "2020-01-01", "test_from": "2021-01-01"}
    assert told in refused(tmp_path, yaml.safe_dump(content))
