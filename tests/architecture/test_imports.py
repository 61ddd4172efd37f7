"""Heavy libraries are imported where they are used, so that a code location loads quickly."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch", "mlflow", "great_expectations", "pandera", "pandas", "lightgbm", "sklearn",
    "matplotlib", "scipy",
)  # fmt: skip


def loaded_by(statement: str) -> list[str]:
    shown = f"print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    code = f"{statement}\nimport json, sys\n{shown}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "statement",
    ["import nexus_model", "import nexus_pipeline.cli", "import nexus_pipeline.definitions"],
)
def test_importing_loads_no_heavy_library(statement):
    assert loaded_by(statement) == []


def test_the_probe_sees_a_heavy_library_that_is_loaded():
    assert "torch" in loaded_by("import torch")
