"""``nexusflow init NAME --example EXAMPLE``: each a project that loads, with its tables there."""

import sys

import pytest
from typer.testing import CliRunner

from nexus_pipeline import cli, gallery
from nexus_pipeline.defs.aligned import load_sql
from nexus_pipeline.project import load_project
from nexus_pipeline.steps.read_raw import raw_file


def asked(*words: str) -> tuple[int, str]:
    shown = CliRunner().invoke(cli.app, ["init", *words])
    return shown.exit_code, shown.output


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEXUS_RAW", raising=False)
    return tmp_path


@pytest.mark.parametrize("example", gallery.EXAMPLES)
def test_an_example_is_a_project_with_its_own_name_and_its_tables(here, example):
    code, told = asked("mine", "--example", example)
    assert code == 0, told
    project = load_project(here / "mine" / "nexusflow.yaml")
    assert project.project_name == "mine"
    assert all(raw_file(project, d.table).is_file() for d in project.datasets)
    named = {task.sql for task in project.tasks}
    assert named <= set(load_sql(project).models)


def test_an_unknown_example_names_the_known_ones(here):
    code, told = asked("mine", "--example", "moon")
    assert code == 2
    assert "f1, shop, baseball, flights, retail" in told
    assert not (here / "mine").exists()


def test_an_example_brings_its_own_tables(here):
    code, told = asked("mine", "--example", "f1", "--from", "tables")
    assert code == 2
    assert "--example brings its own" in told


def test_a_package_that_is_not_installed_is_named(here, monkeypatch):
    monkeypatch.setitem(gallery.PACKAGES, "retail", "no_such_package")
    code, told = asked("mine", "--example", "retail")
    assert code == 2
    assert "no_such_package" in told
    assert "nexusflow[examples]" in told
    assert not (here / "mine").exists()


def test_an_example_leaves_an_existing_folder_alone(here):
    (here / "mine").mkdir()
    assert asked("mine", "--example", "f1")[0] == 2
    assert list((here / "mine").iterdir()) == []


def test_no_package_is_imported_to_find_its_tables(here):
    before = set(sys.modules)
    asked("mine", "--example", "retail")
    assert not (set(sys.modules) - before) & set(gallery.PACKAGES.values())
