"""``nexusflow explain``: one entity in words, all tables with a page."""

import json

import pyarrow.csv as pa_csv
import pytest
from tiny_artifact import artifact, frames
from typer.testing import CliRunner

from nexus_pipeline import cli

RUNNER = CliRunner()
# Fewer tables keep this quick; that some are missing is no error.
pytestmark = pytest.mark.filterwarnings("ignore:table .* was not given")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    artifact(static=True).save(folder / "model.nxf")
    for name in ("customers", "orders", "tickets", "shops"):
        pa_csv.write_csv(frames()[name], folder / f"{name}.csv")
    return folder


def explained(given, *more):
    words = [str(given / "model.nxf"), "--data", str(given), "--page", str(given / "page.html")]
    return RUNNER.invoke(cli.app, ["explain", *words, *more])


def test_one_entity_is_explained_as_json(given):
    shown = explained(given, "--entity", "5", "--json")
    assert shown.exit_code == 0, shown.output
    facts = json.loads(shown.stdout)
    assert facts["completeness_error"] <= 0.01
    assert len(facts["score_after_each_cycle"]) == 3
    assert {"table", "column", "share"} == set(facts["cells"][0])


def test_all_tables_are_explained_on_a_page_that_asks_nothing_of_the_network(given):
    shown = explained(given)
    assert shown.exit_code == 0, shown.output
    assert "importance of tables" in shown.output
    assert "not what the answer depended on" in shown.output
    page = (given / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert "src=" not in page.replace("script-src", "").replace("default-src", "")
    assert "http" not in page.replace("http-equiv", "")
    assert 'tabindex="0"' in page


def test_a_key_nobody_has_is_exit_code_3(given):
    shown = explained(given, "--entity", "nobody")
    assert shown.exit_code == 3
    assert "nobody has this key" in shown.output


@pytest.mark.parametrize("name", ["explain", "card"])
def test_help_has_a_runnable_example(name):
    shown = RUNNER.invoke(cli.app, [name, "--help"])
    assert f"Example: nexusflow {name}" in " ".join(shown.output.split())
