"""Where a run's time goes, by library: ``python -m benchmarks.profile_run [--name NAME]``.

The README's shop, made and trained in one process under ``cProfile``; a function's own time is
counted for the library its file belongs to, imports for the library that is imported. Writes
``benchmarks/results/profile_NAME.json``. ``--tree FOLDER`` profiles another checkout of the code,
so that two states are measured by one program.
"""

import argparse
import cProfile
import json
import os
import platform
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LIBRARY = re.compile(r"site-packages/([A-Za-z0-9_]+)")
SHOWN = 14


def library_of(file: str) -> str:
    """Which library a file belongs to; what is built in has no file."""
    found = LIBRARY.search(file)
    if found:
        return found[1]
    for own in ("nexus_model", "nexus_pipeline"):
        if f"/{own}/" in file:
            return own
    return "python, and what is built in"


def profiled() -> dict[str, Any]:
    """One whole run in this process."""
    from nexus_pipeline.run import materialize
    from nexus_pipeline.scaffold import create_project, write_shop

    with tempfile.TemporaryDirectory() as folder:
        shop = create_project(Path(folder), "shop")
        write_shop(shop / "data/raw/shop")
        home = shop / ".nexus"
        os.environ |= {"NEXUS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster")}
        profile, spent, began = cProfile.Profile(), time.process_time(), time.perf_counter()
        profile.runcall(materialize, shop / "nexusflow.yaml")
        cpu, wall = time.process_time() - spent, time.perf_counter() - began
    own: Counter[str] = Counter()
    imports: Counter[str] = Counter()
    stats: Any = pstats.Stats(profile)
    for (file, _, name), (_, _, seconds, whole, _) in stats.stats.items():
        own[library_of(file)] += seconds
        if name == "<module>" and file.endswith("__init__.py"):
            package = Path(file).parent
            if package.parent.name == "site-packages" or package.name.startswith("nexus_"):
                imports[package.name] += whole
    return {
        "cpu_seconds": round(cpu, 1),
        "wall_seconds": round(wall, 1),
        "own_seconds_by_library": {n: round(s, 2) for n, s in own.most_common(SHOWN)},
        "import_seconds": {n: round(s, 2) for n, s in imports.most_common(SHOWN)},
    }


def in_tree(tree: Path) -> dict[str, Any]:
    """The same in a process that imports the code of a checkout."""
    environment = {
        **os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1",
        "DAGSTER_DISABLE_TELEMETRY": "yes", "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true", "GX_ANALYTICS_ENABLED": "false",
    }  # fmt: skip
    words = [sys.executable, str(Path(__file__).resolve()), "--here"]
    done = subprocess.run(
        words, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Measure, tell, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="after")
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        print(json.dumps(profiled()))
        return 0
    from nexus_pipeline.steps.evaluate_task import git_commit

    told = in_tree(asked.tree) | {
        "command": "python -m benchmarks.profile_run",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 2),
        "commit": git_commit(asked.tree),
    }
    file = RESULTS / f"profile_{asked.name}.json"
    file.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
