"""What the pipeline costs while it runs by itself: ``python -m benchmarks.operations``.

On a small shop:

* A thousand materializations: the six assets of ``raw`` and ``validated`` again and again in one
  process, with another value in a raw file each time, so that two of them are really made and four
  reused: memory and descriptors of the process after a warm-up and at the end.
* Two ticks of the retraining schedule in a new process, which find nothing: CPU seconds, and the
  files they changed. The process that evaluates schedules lives on, so the bar is on the second;
  the first one, which imports what it needs, is told beside it.

``--part-of tick`` measures one part anew and leaves what the file says of the other.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "operations.json"
CUSTOMERS = 150
# Every run materializes the six assets of two stages.
MADE_BY_A_RUN, RUNS, WARM = 6, 170, 20
GROWTH, TICK_S = 0.05, 5.0
QUICK = "training: {epochs: 1, batch_size: 32}\narchitecture: {global_embed_dim: 16, heads: 2}\n"


def shop(parent: Path) -> Path:
    """A shop nobody has run yet; its file."""
    from nexus_pipeline.scaffold import create_project, write_shop

    folder = create_project(parent, "shop")
    write_shop(folder / "data/raw/shop", CUSTOMERS)
    with (folder / "nexusflow.yaml").open("a", encoding="utf-8") as text:
        text.write(QUICK)
    return folder / "nexusflow.yaml"


def in_its_home(file: Path) -> None:
    """Point this process, and those it starts, to the project's own state."""
    home = file.parent / ".nexus"
    os.environ |= {
        "NEXUS_HOME": str(home), "DAGSTER_HOME": str(home / "dagster"), "NEXUS_PROJECT": str(file),
        "DAGSTER_DISABLE_TELEMETRY": "yes", "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def resident_mb() -> float:
    """Memory this process holds, after everything unneeded was given up."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(path.readlink()))
        except FileNotFoundError:
            continue
    return sorted(found)


def materializations(runs: int, warm: int) -> dict[str, Any]:
    """Memory and descriptors of one process that materializes so many times."""
    from nexus_pipeline.run import materialize

    with tempfile.TemporaryDirectory() as parent:
        file = shop(Path(parent))
        in_its_home(file)
        path = file.parent / "data/raw/shop/orders.csv"
        header, first, rest = path.read_text(encoding="utf-8").split("\n", 2)
        front = first.rpartition(",")[0]
        seen: list[dict[str, float]] = []
        held: list[str] = []
        started = time.process_time()
        for number in range(1, runs + 1):
            path.write_text(f"{header}\n{front},{number / 100}\n{rest}", encoding="utf-8")
            materialize(file, stages=("raw", "validated"))
            if number == warm:
                held = descriptors()
            if number % max(1, runs // 20) == 0 or number == warm:
                now = {"run": number, "resident_mb": round(resident_mb(), 1),
                       "descriptors": len(descriptors())}  # fmt: skip
                seen.append(now)
                print(now, flush=True)
        opened = [name for name in descriptors() if name not in held]
    before = next(one for one in seen if one["run"] == warm)["resident_mb"]
    after = seen[-1]["resident_mb"]
    return {
        "materializations": runs * MADE_BY_A_RUN,
        "runs": runs,
        "warm_up_runs": warm,
        "resident_mb_after_warm_up": before,
        "resident_mb_at_the_end": after,
        "growth": round(after / before - 1, 4),
        "descriptors_after_warm_up": len(held),
        "descriptors_at_the_end": seen[-1]["descriptors"],
        "opened_since": opened,
        "cpu_seconds_per_run": round((time.process_time() - started) / runs, 3),
        "seen": seen,
    }


def tick(file: Path) -> dict[str, Any]:
    """One evaluation of the retraining schedule, in this process, which is a new one."""
    began = time.process_time()
    import dagster as dg

    from nexus_pipeline.assembly import build_definitions
    from nexus_pipeline.project import load_project
    from nexus_pipeline.run import dagster_instance

    imported = time.process_time()
    project = load_project(file)
    schedule = build_definitions(project).get_schedule_def(f"{project.project_name}_retraining")
    with dagster_instance(project) as instance:
        built = time.process_time()
        with dg.build_schedule_context(instance=instance) as context:
            found = schedule.evaluate_tick(context)
        done = time.process_time()
        with dg.build_schedule_context(instance=instance) as context:
            schedule.evaluate_tick(context)
        again = time.process_time()
    return {
        "cpu_seconds": round(done - began, 2),
        "every_further_tick": round(again - done, 2),
        "of_them_imports": round(imported - began, 2),
        "of_them_definitions": round(built - imported, 2),
        "of_them_evaluation": round(done - built, 2),
        "skipped": found.skip_message or "",
        "run_requests": len(found.run_requests or ()),
    }


def stamps(folders: list[Path]) -> dict[str, tuple[int, int]]:
    """Size and time of every file below."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                found[str(path)] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


def ticks(file: Path) -> dict[str, Any]:
    """A tick in a process of its own, and what it changed."""
    folders = [file.parent]
    before = stamps(folders)
    words = [sys.executable, "-m", "benchmarks.operations", "--tick", str(file)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ)
    after = stamps(folders)
    changed = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    return {**json.loads(told.stdout.splitlines()[-1]), "files_changed": changed}


def no_change_tick() -> dict[str, Any]:
    """On a small shop that was trained."""
    from nexus_pipeline.run import materialize

    with tempfile.TemporaryDirectory() as parent:
        file = shop(Path(parent))
        in_its_home(file)
        materialize(file)
        return ticks(file)


def apart(part: str, *words: str) -> dict[str, Any]:
    """A part in a process of its own, told line by line."""
    told = ""
    asked = [sys.executable, "-m", "benchmarks.operations", "--part", part, *words]
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = line
            print(line, end="", flush=True)
    assert process.returncode == 0, f"{part} failed"
    found: dict[str, Any] = json.loads(told)
    return found


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "materializations": materializations,
    "tick": no_change_tick,
}


def main() -> int:
    """Measure, tell, write; 1 if a bar is not met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--warm", type=int, default=WARM)
    parser.add_argument("--project", type=Path, help="file of a trained project to tick as well")
    parser.add_argument("--part-of", choices=PARTS, help="measure this part alone")
    parser.add_argument("--tick", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.tick:
        print(json.dumps(tick(asked.tick)))
        return 0
    if asked.part:
        given = (asked.runs, asked.warm) if asked.part == "materializations" else ()
        print(json.dumps(PARTS[asked.part](*given)))
        return 0
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if asked.part_of else {}
    found = {name: told for name, told in known.items() if name.startswith(("tick", "material"))}
    if asked.part_of != "materializations":
        found["tick_of_a_small_shop"] = apart("tick")
    if asked.project:
        in_its_home(asked.project)
        found[f"tick_of_{asked.project.parent.name}"] = ticks(asked.project)
    if asked.part_of != "tick":
        counts = ("--runs", str(asked.runs), "--warm", str(asked.warm))
        found["materializations"] = apart("materializations", *counts)
    told, repeated = found["tick_of_a_small_shop"], found["materializations"]
    bars = {
        "memory_grows_at_most_5_percent": repeated["growth"] <= GROWTH,
        "no_descriptor_is_left": repeated["descriptors_at_the_end"]
        <= repeated["descriptors_after_warm_up"],
        "a_tick_costs_at_most_5_s": told["every_further_tick"] <= TICK_S,
        "a_tick_without_change_asks_for_nothing": told["run_requests"] == 0,
        "a_tick_writes_nothing": not told["files_changed"],
    }
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    content = {
        "command": "python -m benchmarks.operations",
        "machine": machine,
        "bars": bars,
        **found,
    }
    if asked.runs == RUNS:
        RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"bars": bars}, indent=1))
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
