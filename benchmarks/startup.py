"""What starting costs, before anything is done: ``python -m benchmarks.startup``.

CPU seconds of processes of their own, the least of several: the command's help, a look at the
registry, and ``dagster definitions validate`` of a small project beside an empty one. Writes
``benchmarks/results/startup.json``; ends with 1 if a bar is missed.
"""

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "startup.json"
HELP_S, DEFINITIONS_S = 0.5, 1.0
RUNS = 5
EMPTY = "import dagster as dg\n\ndefs = dg.Definitions()\n"


def cpu_seconds(words: list[str], folder: Path, runs: int = RUNS) -> float:
    """The least of several, so that another program's work is not counted."""
    found = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return round(min(found), 2)


def figures(folder: Path) -> dict[str, float]:
    """Every start, in seconds."""
    from nexus_pipeline.scaffold import create_project, write_shop

    shop = create_project(folder, "shop")
    write_shop(shop / "data/raw/shop", 50)
    home = shop / ".nexus"
    (home / "dagster").mkdir(parents=True)
    os.environ |= {
        "NEXUS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "OMP_NUM_THREADS": "1",
        "DAGSTER_DISABLE_TELEMETRY": "yes", "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }  # fmt: skip
    (folder / "nothing.py").write_text(EMPTY, encoding="utf-8")
    ours = [str(Path(sys.executable).parent / "nexusflow")]
    validate = [sys.executable, "-m", "dagster", "definitions", "validate"]
    return {
        "help": cpu_seconds([*ours, "--help"], shop),
        "registry": cpu_seconds([*ours, "models", "list"], shop),
        "definitions": cpu_seconds([*validate, "-m", "nexus_pipeline.definitions"], shop),
        "definitions_of_an_empty_project": cpu_seconds([*validate, "-f", "nothing.py"], folder),
    }


def main() -> int:
    """Measure, tell, write."""
    from nexus_pipeline.steps.evaluate_task import git_commit

    with tempfile.TemporaryDirectory() as folder:
        found = figures(Path(folder))
    added = round(found["definitions"] - found["definitions_of_an_empty_project"], 2)
    bars = {
        f"help_at_most_{HELP_S:g}_s": found["help"] <= HELP_S,
        f"definitions_add_at_most_{DEFINITIONS_S:g}_s": added <= DEFINITIONS_S,
    }
    told = {
        "command": "python -m benchmarks.startup",
        "cpu_seconds": found | {"definitions_add": added},
        "bars": bars,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": git_commit(Path(__file__).parent),
        "versions": {name: version(name) for name in ("dagster", "mlflow", "torch")},
    }
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))
    return int(not all(bars.values()))


if __name__ == "__main__":
    sys.exit(main())
