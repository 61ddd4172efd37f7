"""Load on a server of this machine: one client, then many, with and without micro-batching.

Loopback only, one process for the server and one for the clients; every client asks about other
entities, with their rows read from the project's tables by key:
``python benchmarks/serving.py --project nexusflow.yaml --task dnf``. The figures go to
``benchmarks/results/serving.json`` under the project's and task's name.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import platform
import sys
import threading
import time
import warnings
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results" / "serving.json"
LOOPBACK = "127.0.0.1"
BAR = 3.0


def serve(model: Path, most_together: int, told: Connection) -> None:
    """A server in this process; tells its port, stops when told to."""
    import torch
    import uvicorn

    from nexus_pipeline.serving.app import Service, create_app
    from nexus_pipeline.serving.live_model import FileSource, LiveModel
    from nexus_pipeline.serving.settings import ServeSettings

    torch.set_num_threads(1)
    settings = ServeSettings(port=0, most_together=most_together, timeout_s=60, poll_s=60)
    service = Service(LiveModel(FileSource(model), settings.poll_s), settings)
    config = uvicorn.Config(create_app(service), port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    told.send(server.servers[0].sockets[0].getsockname()[1])
    told.recv()
    server.should_exit = True
    thread.join()


def requests_of(project_file: Path, task: str, entities: int) -> tuple[list[bytes], list[Any], str]:
    """Bodies, each of one entity with its rows; the same as frames; and the cutoff."""
    from nexus_model.align.samples import Split
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.project import load_project
    from nexus_pipeline.serving.lookup import Lookup
    from nexus_pipeline.serving.wire import arrow_body
    from nexus_pipeline.steps.align import read_recipe

    project = load_project(project_file)
    recipe = read_recipe(project, task)
    store = default_resources(project)["store"].store()  # type: ignore[attr-defined]
    keys = ", ".join(f'entity."{name}"' for name in recipe.entity.primary_key)
    with store.read() as con:
        found = con.sql(
            f"select cast(max(cutoff) over () as varchar), {keys} from aligned.samples_{task} "
            f'as samples inner join aligned."{recipe.entity.name}" as entity '
            f"on samples.entity_row = entity._row where split = '{Split.TEST}' "
            f"qualify row_number() over (partition by {keys} order by cutoff desc) = 1 "
            f"order by cutoff desc, {keys} limit {entities}"
        ).fetchall()
    cutoff, lookup = found[0][0], Lookup(store)
    asked = {} if cutoff is None else {"cutoff": cutoff}
    frames = [lookup.frames(recipe, [row[1] if len(row) == 2 else row[1:]]) for row in found]
    return [arrow_body(tables, asked) for tables in frames], frames, cutoff


def load(port: int, bodies: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Ask for so long from so many threads that keep their connections; what they saw."""
    from nexus_pipeline.serving.wire import ARROW_TYPE

    taken: list[float] = []
    errors: list[int] = []
    until = time.perf_counter() + seconds

    def ask(number: int) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
        turn = number
        while time.perf_counter() < until:
            started = time.perf_counter()
            body = bodies[turn % len(bodies)]
            connection.request("POST", "/predict", body, {"Content-Type": ARROW_TYPE})
            answer = connection.getresponse()
            answer.read()
            taken.append(time.perf_counter() - started)
            if answer.status != 200:
                errors.append(answer.status)
            turn += clients
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - started
    return {
        "clients": clients,
        "requests": len(taken),
        "errors": len(errors),
        "per_second": round(len(taken) / spent, 1),
        "p50_ms": round(float(np.quantile(taken, 0.5)) * 1000, 1),
        "p95_ms": round(float(np.quantile(taken, 0.95)) * 1000, 1),
    }


def served_load(
    model: Path, most_together: int, bodies: list[bytes], clients: int, seconds: float
) -> dict[str, float]:
    """Load on a server of its own, warmed up."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(model, most_together, there)
    )
    process.start()
    try:
        port = here.recv()
        load(port, bodies, clients, 1.0)
        return load(port, bodies, clients, seconds)
    finally:
        here.send("stop")
        process.join()


def in_memory(model: Path, frames: list[Any], cutoff: str | None, times: int) -> dict[str, float]:
    """``Predictor.predict`` of one entity at a time from frames in memory, on one core."""
    import torch

    from nexus_model.serve.predictor import load_model

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    predictor = load_model(model)
    wall, cpu = [], []
    for turn in range(times + 5):
        started, spent = time.perf_counter(), time.process_time()
        predictor.predict(frames[turn % len(frames)], cutoff)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    return {
        "p50_ms": round(float(np.quantile(wall[5:], 0.5)) * 1000, 1),
        "p95_ms": round(float(np.quantile(wall[5:], 0.95)) * 1000, 1),
        "cpu_p50_ms": round(float(np.quantile(cpu[5:], 0.5)) * 1000, 1),
        "cpu_p95_ms": round(float(np.quantile(cpu[5:], 0.95)) * 1000, 1),
    }


def alone_and_together(model: Path, frames: list[Any], cutoff: str | None) -> float:
    """How far the predictions of all requests in one pass are from each alone."""
    from nexus_model.serve.predictor import load_model

    predictor = load_model(model)
    questions = [predictor.question(tables, cutoff) for tables in frames]
    together = predictor.answer(questions)
    alone = [predictor.answer([question])[0] for question in questions]
    return max(
        abs(one["prediction"][0].as_py() - other["prediction"][0].as_py())
        for one, other in zip(together, alone, strict=True)
    )


def main() -> int:
    """Measure, write and print; 1 if there were errors or micro-batching is under its bar."""
    from nexus_pipeline.project import load_project
    from nexus_pipeline.steps.evaluate_task import git_commit
    from nexus_pipeline.steps.optimize_task import FULL, artifact_folder

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=Path("nexusflow.yaml"))
    parser.add_argument("--task", required=True)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--entities", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    project = load_project(chosen.project)
    model = artifact_folder(project, chosen.task) / FULL
    bodies, frames, cutoff = requests_of(chosen.project, chosen.task, chosen.entities)
    busy = os.getloadavg()[0]
    rows = [sum(len(table) for table in tables.values()) for tables in frames]
    found: dict[str, Any] = {
        "command": f"python benchmarks/serving.py --project {chosen.project.name} "
        f"--task {chosen.task} --clients {chosen.clients} --entities {chosen.entities} "
        f"--seconds {chosen.seconds:g}",
        "entities": len(frames),
        "rows_per_request": {"mean": round(float(np.mean(rows))), "most": max(rows)},
        "body_bytes_mean": round(float(np.mean([len(body) for body in bodies]))),
        "single": served_load(model, 64, bodies, 1, chosen.seconds),
        "many_each_alone": served_load(model, 1, bodies, chosen.clients, chosen.seconds),
        "many_micro_batched": served_load(model, 64, bodies, chosen.clients, chosen.seconds),
        "alone_and_together_differ_by": alone_and_together(model, frames, cutoff),
        "in_memory_one_core": in_memory(model, frames, cutoff, 100),
    }
    alone, batched = found["many_each_alone"], found["many_micro_batched"]
    found |= {
        "throughput_ratio": round(batched["per_second"] / alone["per_second"], 2),
        "throughput_over_single": round(batched["per_second"] / found["single"]["per_second"], 2),
        "bar": BAR,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average_before": round(busy, 2),
        "commit": git_commit(Path(__file__).parent),
        "versions": {
            name: version(name) for name in ("torch", "duckdb", "fastapi", "uvicorn", "pyarrow")
        },
    }
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
    kept[f"{project.project_name}/{chosen.task}"] = found
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))
    errors = sum(
        found[name]["errors"] for name in ("single", "many_each_alone", "many_micro_batched")
    )
    return int(errors > 0 or found["throughput_ratio"] < BAR)


if __name__ == "__main__":
    sys.exit(main())
