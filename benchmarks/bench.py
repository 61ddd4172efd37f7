"""How fast, beside whom: every case's figure, the peer's and their ratio; ``make bench`` runs it.

``python -m benchmarks.bench [CASE ...] [--size small|full] [--out FOLDER]``. Each part of a case
runs in a process of its own. Results go to ``benchmarks/results/speed/`` (small sizes to
``build/speed/``), and the page ``benchmarks/README.md`` is written from what lies there.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.speed.case import Case, Facts, judged_by
from benchmarks.speed.page import write_page

ROOT = Path(__file__).parents[1]
RESULTS, REHEARSED = ROOT / "benchmarks" / "results" / "speed", ROOT / "build" / "speed"
CASES = ("ingest", "alignment", "features", "plain", "encoder", "experts", "training", "stream")


def case_named(name: str) -> Case:
    """A case by the name of its file, with that of its folder (``gpu.large``) if another."""
    folder, _, file = name.rpartition(".")
    case = importlib.import_module(f"benchmarks.{folder or 'speed'}.{file}").CASE
    assert isinstance(case, Case)
    return case


def part(name: str, which: str, folder: Path, size: Any) -> Facts:
    """One part, in this process."""
    return case_named(name).parts[which](folder, size)


def part_alone(name: str, which: str, folder: Path, size: str) -> Facts:
    """One part, in a process of its own."""
    asked = [sys.executable, "-m", "benchmarks.bench", "--part", name, which, str(folder), size]
    told = subprocess.run(asked, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return dict(json.loads(told.stdout.splitlines()[-1]))


def measured(name: str, size: str) -> dict[str, Any]:
    """Every part of a case and what comes of it."""
    from nexus_pipeline.steps.evaluate_task import git_commit

    case, started = case_named(name), time.perf_counter()
    load = os.getloadavg()[0]
    parts, loads = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for which in case.parts:
            loads[which] = round(os.getloadavg()[0], 2)
            parts[which] = part_alone(name, which, Path(folder), size)
            print(f"  {which}: {_short(parts[which])}", flush=True)
    versions = {package: version(package) for package in case.packages}
    for facts in parts.values():
        versions |= facts.pop("versions", {})
    by = judged_by(max(loads.values()))
    return {
        "case": name,
        "question": case.question,
        "peer": case.peer,
        "command": f"python -m benchmarks.bench {name} --size {size}",
        "size": size,
        "judged_by": by,
        "figures": [figure.facts for figure in case.judged(parts, by)],
        "parts": parts,
        "seconds": round(time.perf_counter() - started, 1),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load_average_before": round(load, 2),
        "load_average_by_part": loads,
        "commit": git_commit(ROOT),
        "versions": versions,
    }


def _short(facts: Facts) -> str:
    told = {name: value for name, value in facts.items() if not isinstance(value, dict)}
    return ", ".join(f"{name} {value}" for name, value in told.items())


def told(result: dict[str, Any]) -> str:
    """The figures of a case, a line each."""
    return "\n".join(
        f"{'met   ' if figure['met'] else 'MISSED'} {result['case']}: {figure['what']}: "
        f"{figure['ours']:g} to {figure['other']:g} {figure['unit']}, ratio {figure['ratio']:g}, "
        f"bar {figure['sense'].replace('_', ' ')} {figure['bar']:g}"
        for figure in result["figures"]
    )


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=f"among {', '.join(CASES)}; all if none")
    parser.add_argument("--size", choices=("small", "full"), default="full")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--part", nargs=4, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--page", action="store_true", help="write the page, measure nothing")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write; 1 if a bar is missed."""
    asked = arguments()
    if asked.part:
        name, which, folder, size = asked.part
        print(json.dumps(part(name, which, Path(folder), size)))
        return 0
    if asked.page:
        write_page(RESULTS)
        return 0
    out = asked.out or (RESULTS if asked.size == "full" else REHEARSED)
    out.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in asked.cases or CASES:
        print(f"{name}: {case_named(name).question}", flush=True)
        result = measured(name, asked.size)
        (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(told(result), flush=True)
        missed += sum(not figure["met"] for figure in result["figures"])
    if out == RESULTS:
        write_page(RESULTS)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
