"""``nexusflow graph``: references, paths, parents read with their children, what none reaches."""

import json
from pathlib import Path

from typer.testing import CliRunner

from nexus_pipeline import cli
from nexus_pipeline.scaffold import create_project

F1 = Path(__file__).resolve().parents[2] / "nexusflow.yaml"


def graph_of(file, *more):
    done = CliRunner().invoke(cli.app, ["graph", "--project", str(file), *more])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_default_projects_paths_are_listed_with_parents_and_grandchildren():
    found = json.loads(graph_of(F1, "--json"))
    paths = found["asked_about"]["drivers"]["paths"]
    assert "race_results" in paths
    assert set(paths["race_results"]) == {"drivers", "constructors", "races"}
    assert any(path.count("/") for path in paths)
    assert found["asked_about"]["drivers"]["unreached"] == []


def test_every_reference_of_the_file_is_an_edge():
    found = json.loads(graph_of(F1, "--json"))
    edges = {(r["table"], r["to"]) for r in found["references"]}
    assert ("races", "circuits") in edges
    assert ("race_results", "drivers") in edges


def test_a_table_that_no_path_reaches_is_named(tmp_path):
    file = create_project(tmp_path, "shop") / "nexusflow.yaml"
    with file.open("a", encoding="utf-8") as text:
        text.write("  - {name: weather.csv, primary_key: day}\n")
    told = graph_of(file)
    assert "customers reads:" in told
    assert "no path reaches weather" in told
