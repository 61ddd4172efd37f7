"""One entity's prediction from raw rows in memory, on one core: ours, and featuretools + LightGBM.

    python benchmarks/latency.py --project nexusflow.yaml --task dnf --peer

Two forms of "raw rows in memory". ``own_rows``: the request brings the entity's rows of every table
(all that the model's paths reach, their parents, and whole tables without keys) as Arrow tables;
typing, alignment by SQL, encoding and the network are measured. ``resident``: the whole database
was read once, and the request is a key and a cutoff. The peer is given the whole database too, as
an EntitySet made once; measured are ``calculate_feature_matrix`` for one entity at its cutoff and
LightGBM's ``predict``. ``--peer`` makes an environment of its own for it, which takes a minute.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import venv
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "latency.json"
PEER = Path(__file__).parent / "latency_peer.py"
# Its last version wants pandas before 3.
PEER_NEEDS = ("featuretools==1.31.0", "pandas<2.3", "numpy>=2,<2.4", "lightgbm==4.7.0", "pyarrow")
BAR_MS, BAR_RATIO = 50.0, 10.0
ROUNDS, WARM = 200, 10


def one_core() -> None:
    """Keep this process, and what it starts, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def taken(ask: Callable[[int], object], rounds: int, warm: int = WARM) -> dict[str, float]:
    """Wall and CPU milliseconds of one question after another."""
    wall, cpu = [], []
    for turn in range(rounds + warm):
        started, spent = time.perf_counter(), time.process_time()
        ask(turn)
        wall.append((time.perf_counter() - started) * 1000)
        cpu.append((time.process_time() - spent) * 1000)
    return {
        f"{name}_p{share}_ms": round(float(np.quantile(times[warm:], share / 100)), 1)
        for name, times in (("wall", wall), ("cpu", cpu))
        for share in (50, 95)
    }


def ours(project_file: Path, task: str, entities: int) -> tuple[dict[str, Any], list[Any], Any]:
    """The figures of both forms, the keys asked about, and the cutoff."""
    import torch

    from benchmarks.serving import requests_of
    from nexus_model.serve.predictor import load_model
    from nexus_model.serve.resident import Resident
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.project import load_project
    from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
    from nexus_pipeline.steps.serve_task import raw_frames

    torch.set_num_threads(1)
    project = load_project(project_file)
    predictor = load_model(artifact_folder(project, task) / FULL)
    entity = predictor.artifact.recipe.entity
    _, frames, cutoff = requests_of(project_file, task, entities)
    whole = raw_frames(project, task, default_resources(project)["store"].store())  # type: ignore[attr-defined]
    [name] = entity.primary_key
    keys = [tables[entity.name][name][0].as_py() for tables in frames]
    started = time.perf_counter()
    resident = Resident(predictor, whole, cutoff)
    built_s = time.perf_counter() - started
    expected = predictor.predict(whole, cutoff)
    known = dict(zip(expected[name].to_pylist(), expected["prediction"].to_pylist(), strict=True))

    def own(turn: int) -> float:
        found = predictor.predict(frames[turn % len(frames)], cutoff)
        return float(found["prediction"][0].as_py())

    def kept(turn: int) -> float:
        return float(resident.predict([keys[turn % len(keys)]], cutoff)["prediction"][0].as_py())

    rows = [sum(len(table) for table in tables.values()) for tables in frames]
    return (
        {
            "own_rows": taken(own, ROUNDS)
            | {
                "rows_mean": round(float(np.mean(rows))),
                "rows_most": max(rows),
                "differs_from_all_entities_by": max(
                    abs(own(turn) - known[key]) for turn, key in enumerate(keys)
                ),
            },
            "resident": taken(kept, ROUNDS)
            | {
                "rows": sum(len(table) for table in whole.values()),
                "built_in_s": round(built_s, 1),
                "differs_from_all_entities_by": max(
                    abs(kept(turn) - known[key]) for turn, key in enumerate(keys)
                ),
            },
        },
        keys,
        cutoff,
    )


def written_for_peer(
    project_file: Path, task: str, keys: list[Any], cutoff: Any, folder: Path
) -> None:
    """The aligned tables, which the peer need not clean or join, and what it is asked."""
    import pyarrow.parquet as pq

    from nexus_model.align.relate import quoted
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.project import load_project
    from nexus_pipeline.steps.align import read_recipe

    project = load_project(project_file)
    recipe = read_recipe(project, task)
    store = default_resources(project)["store"].store()  # type: ignore[attr-defined]
    tables = {}
    with store.read() as con:
        for table in recipe.database.tables:
            rows = con.sql(f"select * exclude (_time) from aligned.{quoted(table.name)}")
            pq.write_table(rows.to_arrow_table(), folder / f"{table.name}.parquet")
            tables[table.name] = {
                "index": table.primary_key[0] if len(table.primary_key) == 1 else "_row",
                "time_index": table.time_column,
                "keys": [
                    [key.columns[0], key.references_table, key.references_columns[0]]
                    for key in table.foreign_keys
                ],
            }
        own, key = quoted(recipe.entity.name), quoted(recipe.entity.primary_key[0])
        samples = con.sql(
            f"select own.{key} as key, cutoff, label from aligned.samples_{task} as samples "
            f"inner join aligned.{own} as own on samples.entity_row = own._row "
            "where split = 'train' order by cutoff desc, key limit 600"
        )
        pq.write_table(samples.to_arrow_table(), folder / "_samples.parquet")
    asked = {"entity": recipe.entity.name, "keys": keys, "cutoff": cutoff, "tables": tables}
    (folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")


def peer(project_file: Path, task: str, keys: list[Any], cutoff: Any) -> dict[str, Any]:
    """The peer's figures, from an environment of its own."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        written_for_peer(project_file, task, keys, cutoff, folder)
        venv.create(folder / "env", with_pip=True)
        python = str(folder / "env" / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", *PEER_NEEDS], check=True)
        told = subprocess.run(
            [python, str(PEER), str(folder)],
            check=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    return dict(json.loads(told.stdout.splitlines()[-1]))


def page(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# One entity's prediction",
        "",
        "Written by `python benchmarks/latency.py` (its text defines what is measured), one core,",
        "milliseconds; wall time beside other work (see the load) is mostly waiting for the core.",
        "The last column is how far predictions are from those made among all.",
        "",
        "| task | form | wall p50 | wall p95 | CPU p50 | CPU p95 | far from among all |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, found in sorted(results.items()):
        for form in ("resident", "own_rows", "featuretools"):
            if form in found:
                times = found[form]
                far = times.get("differs_from_all_entities_by")
                lines.append(
                    f"| {task} | {form} | {times['wall_p50_ms']} | {times['wall_p95_ms']} | "
                    f"{times['cpu_p50_ms']} | {times['cpu_p95_ms']} | "
                    f"{'' if far is None else f'{far:.1e}'} |"
                )
    for task, found in sorted(results.items()):
        ratio = found.get("times_faster_than_featuretools")
        lines += [
            "",
            f"{task}: {found['machine']}, load average before {found['load_average_before']}, "
            f"commit {found['commit'][:12]}, "
            + ", ".join(f"{name} {number}" for name, number in found["versions"].items())
            + (f"; featuretools takes {ratio} times as long (CPU, p50)." if ratio else "."),
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, write and print; 1 if a bar is missed."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from nexus_pipeline.project import load_project
    from nexus_pipeline.steps.evaluate_task import git_commit

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path("nexusflow.yaml"))
    parser.add_argument("--task", required=True)
    parser.add_argument("--entities", type=int, default=32)
    parser.add_argument("--peer", action="store_true")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    one_core()
    busy = os.getloadavg()[0]
    found, keys, cutoff = ours(chosen.project, chosen.task, chosen.entities)
    found |= {
        "command": f"python benchmarks/latency.py --project {chosen.project.name} "
        f"--task {chosen.task} --entities {chosen.entities}" + " --peer" * chosen.peer,
        "bar_ms": BAR_MS,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average_before": round(busy, 2),
        "commit": git_commit(Path(__file__).parent),
        "versions": {name: version(name) for name in ("torch", "duckdb", "pyarrow")},
    }
    # Beside more work than there are cores, waiting for one is no part of what a request costs.
    found["judged_by"] = "cpu" if busy > (os.cpu_count() or 1) else "wall"
    met = found["resident"][f"{found['judged_by']}_p95_ms"] <= BAR_MS
    if chosen.peer:
        other = found["featuretools"] = peer(chosen.project, chosen.task, keys, cutoff)
        found["versions"] |= other.pop("versions")
        ratio = other["cpu_p50_ms"] / found["resident"]["cpu_p50_ms"]
        found["times_faster_than_featuretools"] = round(ratio, 1)
        met &= ratio >= BAR_RATIO
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    kept[f"{load_project(chosen.project).project_name}/{chosen.task}"] = found
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    RESULTS.with_suffix(".md").write_text(page(kept), encoding="utf-8")
    print(json.dumps(found, indent=1))
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
