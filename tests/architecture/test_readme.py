"""Every command and code block of the README, the tutorial and the how-to page is run, in order.

The lines of ``make`` are only planned (``make -n``): they install a machine. The rest runs in one
folder a page, on a project made small by two lines at the end of its file; the how-to page goes on
in the README's. What the README's processes ask of the network is refused and noted.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.network_watch import SAYS_NO, NetworkWatch

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def blocks_of(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


BLOCKS = blocks_of("README.md")
PAGES = ("README.md", "docs/tutorial.md", "docs/how-to.md")
SMALL = "training: {epochs: 1}\narchitecture: {global_embed_dim: 16, heads: 2}\n"


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


pytestmark = pytest.mark.timeout(900)


def run_page(page: str, place: Path, watch: NetworkWatch | None = None) -> Path:
    """Run every bash line and python block of a page; the project folder they left behind."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("NEXUS_HOME", "NEXUS_PROJECT", "NEXUS_DATA", "NEXUS_RAW", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    if watch is not None:
        environment |= watch.variables | {"PYTHONPATH": f"{watch.before}:{ROOT}"}
        for name in SAYS_NO:
            environment.pop(name, None)
    for language, text in blocks_of(page):
        if language not in {"bash", "python"}:
            continue
        if (place / "nexusflow.yaml").is_file():
            environment["DAGSTER_HOME"] = str(place / ".nexus" / "dagster")
        command = ["bash", "-euc", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        if entered := re.search(r"^cd (\w+)$", text, flags=re.MULTILINE):
            place = place / entered[1]
            with (place / "nexusflow.yaml").open("a") as project:
                project.write(SMALL)
    return place


@pytest.fixture(scope="module")
def watch(tmp_path_factory) -> NetworkWatch:
    return NetworkWatch(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory, watch) -> Path:
    return run_page("README.md", tmp_path_factory.mktemp("readme"), watch)


@pytest.fixture(scope="module")
def toured(tmp_path_factory) -> Path:
    return run_page("docs/tutorial.md", tmp_path_factory.mktemp("tutorial"))


@pytest.mark.slow
def test_the_tutorial_ends_with_predictions_and_a_report(toured):
    predictions = (toured / "predictions.csv").read_text().splitlines()
    customers = (toured.parent / "exports/customers.csv").read_text().splitlines()
    assert len(predictions) == len(customers)
    assert (toured / "data/evaluated/leavers/churned/report.html").is_file()


@pytest.mark.slow
def test_the_how_to_page_runs_in_the_readmes_project(ran):
    run_page("docs/how-to.md", ran)
    assert (ran / "validated.json").read_text().startswith("{")
    assert (ran / "new_keys/signing-public.pem").is_file()


@pytest.mark.slow
def test_every_block_runs_and_leaves_its_files(ran):
    assert (ran / "predictions.csv").read_text().startswith('"customer_id","prediction"')
    assert (ran / "data/evaluated/shop/churned/report.html").is_file()


@pytest.mark.slow
def test_the_readme_asks_nothing_of_the_network_though_no_variable_forbids_it(ran, watch):
    assert not watch.asked


def test_the_watch_sees_what_is_asked_and_refuses_it(tmp_path):
    watch = NetworkWatch(tmp_path)
    asking = "import socket; socket.create_connection(('example.org', 1))"
    done = subprocess.run(
        [sys.executable, "-c", asking], capture_output=True, text=True, check=False,
        env={**os.environ, **watch.variables, "PYTHONPATH": str(watch.before)},
    )  # fmt: skip
    assert "the network is blocked" in done.stderr
    assert "example.org" in watch.asked


@pytest.mark.parametrize("page", PAGES)
def test_every_language_of_a_page_is_known(page):
    assert {language for language, _ in blocks_of(page)} <= {"bash", "python", "yaml", ""}


def test_the_yaml_shown_is_the_yaml_made(ran):
    shown = yaml.safe_load(blocks("yaml")[0])
    made = yaml.safe_load((ran / "nexusflow.yaml").read_text())
    assert {key: made[key] for key in shown} == shown


@pytest.mark.parametrize("target", ["run", "test", "ui", "check"])
def test_the_make_targets_can_be_planned(target):
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
