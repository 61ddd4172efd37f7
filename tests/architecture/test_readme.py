"""Every command and code block of the README is run, in the order it is written.

The lines of ``make`` are only planned (``make -n``): they install a machine. The rest runs in one
folder, on a project made small by two lines at the end of its file.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
SMALL = "training: {epochs: 1}\narchitecture: {global_embed_dim: 16, heads: 2}\n"


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """Run every bash line and python block; the project folder they left behind."""
    place = tmp_path_factory.mktemp("readme")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("NEXUS_HOME", "NEXUS_PROJECT", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    for language, text in BLOCKS:
        if language not in {"bash", "python"}:
            continue
        if (place / "nexusflow.yaml").is_file():
            environment["DAGSTER_HOME"] = str(place / ".nexus" / "dagster")
        command = ["bash", "-euc", text] if language == "bash" else [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
        if "cd shop" in text:
            place = place / "shop"
            with (place / "nexusflow.yaml").open("a") as project:
                project.write(SMALL)
    return place


@pytest.mark.slow
def test_every_block_runs_and_leaves_its_files(ran):
    assert (ran / "predictions.csv").read_text().startswith('"customer_id","prediction"')
    assert (ran / "data/evaluated/shop/churned/report.html").is_file()


def test_every_language_of_the_readme_is_known():
    assert {language for language, _ in BLOCKS} <= {"bash", "python", "yaml", ""}


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
