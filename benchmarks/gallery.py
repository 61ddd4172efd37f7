"""Every example of the gallery, trained as its page says; ``python -m benchmarks.gallery``.

Results go to ``benchmarks/results/gallery.json`` and ``gallery.md``. The examples are run one after
another, whole; ``--examples shop`` runs some and leaves the others' results as they were.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = {
    "f1": "docs/gallery/f1.md",
    "shop": "docs/gallery/shop.md",
    "baseball": "examples/baseball/README.md",
    "flights": "examples/flights/README.md",
    "retail": "examples/retail/README.md",
}
SHOWN = ("nexusformer", "lightgbm_entity", "lightgbm_aggregates")


def lines_of(page: str) -> list[str]:
    """The ``nexusflow`` commands a page shows, without what it says beside them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith(("nexusflow ", "cd "))]


def run_example(example: str, place: Path) -> dict[str, Any]:
    """Run a page's commands in a new folder; the figures ``nexusflow evaluate`` tells then."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("NEXUS_HOME", "NEXUS_PROJECT", "NEXUS_RAW", "NEXUS_DATA", "DAGSTER_HOME"):
        environment.pop(name, None)
    before, cpu, here = time.perf_counter(), os.times(), place
    lines = lines_of(PAGES[example])
    if not any(line.startswith("nexusflow init") for line in lines):
        lines = [f"nexusflow init {example} --example {example}", f"cd {example}", *lines]
        lines = [line for line in lines if not line.startswith("cd examples/")]
    for line in lines:
        if line.startswith("cd "):
            here = here / line.removeprefix("cd ")
            continue
        subprocess.run(line.split(), cwd=here, env=environment, check=True, capture_output=True)
    seconds, spent = time.perf_counter() - before, os.times()
    told = subprocess.run(
        ["nexusflow", "evaluate", "--json"],
        cwd=here, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    used = spent.children_user + spent.children_system - cpu.children_user - cpu.children_system
    return {
        "commands": lines,
        "wall_seconds": round(seconds, 1),
        "cpu_seconds": round(used, 1),
        "tasks": json.loads(told.stdout),
    }


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# The examples, trained",
        "",
        "Written by `python -m benchmarks.gallery`; every command of each example's page was run.",
        "Test split, with the 95 % interval. One training each, with the settings of the example.",
        "",
        "| example | task | metric | NexusFormer | interval | LightGBM, entity "
        "| LightGBM, aggregates | wall s | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for example, found in sorted(results["examples"].items()):
        for task, facts in found["tasks"].items():
            models = facts["models"]
            own = models["nexusformer"]["test"]
            others = [f"{models[name]['test']['estimate']:.4f}" for name in SHOWN[1:]]
            lines.append(
                f"| {example} | {task} | {facts['metric']} ({facts['better']}) "
                f"| {own['estimate']:.4f} "
                f"| {own['low']:.4f} to {own['high']:.4f} | {' | '.join(others)} "
                f"| {found['wall_seconds']:.0f} | {found['cpu_seconds']:.0f} |"
            )
    return "\n".join([*lines, "", f"Machine: {results['machine']}.", ""])


def main() -> None:
    """Run the examples asked for and write the page."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--examples", nargs="+", choices=PAGES, default=list(PAGES))
    asked.add_argument("--page", action="store_true", help="only write the page anew")
    given = asked.parse_args()
    file = RESULTS / "gallery.json"
    results = json.loads(file.read_text()) if file.is_file() else {"examples": {}}
    for example in [] if given.page else given.examples:
        with tempfile.TemporaryDirectory() as place:
            results["examples"][example] = run_example(example, Path(place))
        results["machine"] = (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "gallery.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
