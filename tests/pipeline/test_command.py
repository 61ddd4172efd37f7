"""The nexusflow command: help with examples, exit codes, and what it writes."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nexus_pipeline import cli

COMMANDS = ("init", "validate", "train", "evaluate", "predict", "inspect", "schema", "serve", "ui")
RUNNER = CliRunner()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_runnable_example(name):
    shown = RUNNER.invoke(cli.app, [name, "--help"])
    assert shown.exit_code == 0
    assert f"Example: nexusflow {name}" in " ".join(shown.output.split())


def test_init_makes_a_project_that_loads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RUNNER.invoke(cli.app, ["init", "shop"]).exit_code == 0
    assert (tmp_path / "shop/nexusflow.yaml").is_file()
    assert (tmp_path / "shop/data/raw/shop/orders.csv").is_file()


def test_init_leaves_an_existing_folder_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop").mkdir()
    assert RUNNER.invoke(cli.app, ["init", "shop"]).exit_code == 2
    assert list((tmp_path / "shop").iterdir()) == []


@pytest.mark.parametrize("name", ["../escape", "Shop", "two words"])
def test_init_refuses_a_name_that_is_no_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert RUNNER.invoke(cli.app, ["init", name]).exit_code == 2


@pytest.mark.parametrize("name", ["train", "validate", "evaluate"])
def test_a_missing_project_file_is_exit_code_2(tmp_path, name):
    shown = RUNNER.invoke(cli.app, [name, "--project", str(tmp_path / "none.yaml")])
    assert shown.exit_code == 2
    assert "no such project file" in shown.output


def test_inspect_tells_what_the_file_holds(made):
    shown = RUNNER.invoke(cli.app, ["inspect", str(made.artifact)])
    assert shown.exit_code == 0
    assert "NexusFormer for task churned (binary)" in shown.output
    assert "attention backends on this machine:" in shown.output
    assert "sdpa; not flash_attn:" in shown.output


def test_inspect_gives_json(made):
    shown = RUNNER.invoke(cli.app, ["inspect", str(made.artifact), "--json"])
    described = json.loads(shown.output)
    assert described["task"]["name"] == "churned"
    attention = described["attention"]
    assert attention["known"] == ["flash_attn", "torch_varlen", "sdpa", "reference"]
    for call in attention["calls"].values():
        assert call["chosen"] == "sdpa"
        assert all(call["refused"][name] for name in ("flash_attn", "torch_varlen"))


def test_inspect_of_a_damaged_file_is_exit_code_3(tmp_path):
    damaged = tmp_path / "m.nxf"
    damaged.write_bytes(b"not a zip")
    assert RUNNER.invoke(cli.app, ["inspect", str(damaged)]).exit_code == 3


def predicted(made, output: Path, *more: str):
    words = ["--model", str(made.artifact), "--data", str(made.raw), "--output", str(output)]
    return RUNNER.invoke(cli.app, ["predict", *words, *more])


def test_csv_and_parquet_hold_the_same_predictions(made, tmp_path):
    import polars as pl

    for suffix in ("csv", "parquet"):
        assert predicted(made, tmp_path / f"p.{suffix}").exit_code == 0
    text, binary = pl.read_csv(tmp_path / "p.csv"), pl.read_parquet(tmp_path / "p.parquet")
    customers = pl.read_csv(made.raw / "customers.csv")
    assert text["customer_id"].to_list() == customers["customer_id"].to_list()
    assert text["prediction"].to_list() == pytest.approx(binary["prediction"].to_list())


def test_an_unknown_kind_of_output_is_exit_code_2(made, tmp_path):
    assert predicted(made, tmp_path / "p.xlsx").exit_code == 2


def test_a_missing_table_is_exit_code_3_and_named(made, tmp_path):
    words = ["--model", str(made.artifact), "--data", str(tmp_path), "--output", "p.csv"]
    shown = RUNNER.invoke(cli.app, ["predict", *words])
    assert shown.exit_code == 3
    assert "customers" in shown.output


def test_the_entry_point_leaves_with_the_commands_code(monkeypatch):
    left = []
    monkeypatch.setattr(cli.os, "_exit", left.append)
    monkeypatch.setattr(cli.atexit, "_run_exitfuncs", lambda: None)
    monkeypatch.setattr(sys, "argv", ["nexusflow", "inspect", "nowhere.nxf"])
    cli.main()
    assert left == [3]


def test_generate_writes_a_project_once_and_the_same_bytes_each_time(tmp_path):
    words = ["generate", "shop", "--rows", "50", "--seed", "3", "--to"]
    for name in ("a", "b"):
        shown = RUNNER.invoke(cli.app, [*words, str(tmp_path / name)])
        assert shown.exit_code == 0
        assert "best possible AUROC" in shown.output
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 10
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert RUNNER.invoke(cli.app, [*words, str(tmp_path / "a")]).exit_code == 2
    assert RUNNER.invoke(cli.app, ["generate", "moon"]).exit_code == 2
