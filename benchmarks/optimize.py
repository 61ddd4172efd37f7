"""Every form of a trained model beside the model itself: bytes, metric, calibration, latency.

    nexusflow generate shop --rows 4000 --seed 0 --to shop
    (cd shop && nexusflow train); nexusflow train --task dnf
    python benchmarks/optimize.py shop/nexusflow.yaml:churned nexusflow.yaml:dnf

Methods that learn do so on training samples; everything printed is of validation samples. Calls of
all forms take turns, so that they share whatever else the machine does. ``--page`` only writes
the page from the stored results; ``--compiled`` compiles ahead of time as well (minutes).
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nexus_model.api.form_report import (
    MANY,
    ONE,
    Exact,
    FormReport,
    calibrated,
    loss_of,
    measured,
    scored,
)
from nexus_model.api.shrink import Bench, goal_of, shrink
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.evaluate.bootstrap import paired_difference
from nexus_model.optimize.dynamic_int8 import with_dynamic_int8
from nexus_model.optimize.methods import (
    Criterion,
    Distil,
    Finetune,
    Int4,
    Int8,
    Methods,
    Structured,
    Unstructured,
)
from nexus_model.optimize.onnx_form import OnnxNetwork, compiled, export_onnx, quantize_onnx
from nexus_model.predict.heads import prediction
from nexus_model.schema import ConfigurationError
from nexus_model.serve.predictor import load_model
from nexus_model.tokenize.batch import RelBatch, build_batch
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.project import load_project
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
from nexus_pipeline.steps.smaller_task import bench_of

RESULTS = Path(__file__).parent / "results" / "optimize.json"
PAGE = RESULTS.with_suffix(".md")
Call = Callable[[RelBatch], torch.Tensor]
FILES: dict[str, Methods] = {
    "int8": (Int8(),),
    "int4": (Int4(),),
    "unstructured 30 %": (Unstructured(),),
    "unstructured 30 % + finetune": (Unstructured(), Finetune()),
    "unstructured 30 % + finetune + int8": (Unstructured(), Finetune(), Int8()),
    "structured 30 %": (Structured(),),
    "structured 30 % + finetune": (Structured(), Finetune()),
    "student": (Distil(),),
    "student + int8": (Distil(), Int8()),
}
ROUNDS = {ONE: 60, MANY: 12}


def run(where: str, *, ahead: bool) -> dict[str, object]:
    """All figures of one project's task, given as ``FILE:TASK``."""
    file, task = where.rsplit(":", 1)
    project = load_project(file)
    bench = bench_of(project, task, default_resources(project)["store"].store())
    source = artifact_folder(project, task) / FULL
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        reports, calls = stored_forms(source, bench, folder)
        more, further = other_forms(source, bench, folder, reports[0], ahead=ahead)
        waits = taking_turns(calls | further, bench, load_model(source).model.config.parent_hops)
    return {
        "project": project.project_name,
        "task": task,
        "rows": len(bench.validation_B),
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "machine": platform.machine()},
        "forms": [{**report, "latency": waits.get(report["form"])} for report in reports + more],
        "criteria": criteria(source, bench),
    }


def stored_forms(source: Path, bench: Bench, folder: Path) -> tuple[list[dict], dict[str, Call]]:
    """Forms that are ``.nxf`` files; methods that begin alike share their beginning."""
    first, exact = measured(source, "float32 eager", bench, timed=False)
    reports, calls = [dumped(first)], {"float32 eager": load_model(source).model}
    known = {(): NexusFlowModelArtifact.load(source)}
    for form, methods in FILES.items():
        for at, method in enumerate(methods):
            if methods[: at + 1] not in known:
                known[methods[: at + 1]] = shrink(known[methods[:at]], method, bench)
        path = folder / f"{len(reports)}.nxf"
        known[methods].save(path)
        report, _ = measured(path, form, bench, exact, timed=False)
        reports.append(dumped(report))
        calls[form] = load_model(path).model
        print(form, report.file_bytes, report.parameters, f"{report.loss:.4f}", flush=True)
    return reports, calls


def other_forms(
    source: Path, bench: Bench, folder: Path, first: dict, *, ahead: bool
) -> tuple[list[dict], dict[str, Call]]:
    """Forms that are not ``.nxf`` files; one that cannot be made says why."""
    model = load_model(source).model
    batch = build_batch(bench.tensors, bench.validation_B[:MANY], model.config.parent_hops)
    exact, small = folder / "exact.onnx", folder / "int8.onnx"

    def onnx() -> tuple[Call, Path]:
        export_onnx(model, batch, exact)
        return OnnxNetwork(exact), exact

    def onnx_int8() -> tuple[Call, Path]:
        quantize_onnx(exact, small)
        return OnnxNetwork(small), small

    def half(asked: RelBatch) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(asked).float()

    makers: dict[str, Callable[[], tuple[Call, Path | None]]] = {
        "bfloat16 autocast": lambda: (half, None),
        "dynamic INT8 eager": lambda: (with_dynamic_int8(model), None),
        "ONNX Runtime": onnx,
        "ONNX Runtime, dynamic INT8": onnx_int8,
    }
    if ahead:
        package = folder / "ahead.pt2"
        makers["AOTInductor"] = lambda: (compiled(model, batch, package), package)
    artifact, reports, calls = NexusFlowModelArtifact.load(source), [], {}
    before = predictions(model, artifact, bench)
    for form, make in makers.items():
        start = time.perf_counter()
        try:
            calls[form], file = make()
            found = predictions(calls[form], artifact, bench)
        except ConfigurationError as error:
            reports.append({"form": form, "refused": str(error)[:400]})
            calls.pop(form, None)
            continue
        task = artifact.recipe.task
        metric = scored(task, found, bench)
        told = calibrated(task.kind, found, bench)
        reports.append(
            {
                "form": form,
                "file_bytes": file.stat().st_size if file else first["file_bytes"],
                "parameters": first["parameters"],
                "metric": metric.model_dump(),
                "loss": loss_of(task, first["metric"]["estimate"], metric.estimate),
                "largest_difference": float(np.abs(before - found).max()),
                "calibration": told.model_dump() if told else None,
                "made_in_s": time.perf_counter() - start,
            }
        )
        print(form, f"{reports[-1]['loss']:.4f}", flush=True)
    return reports, calls


def predictions(call: Call, artifact: NexusFlowModelArtifact, bench: Bench) -> np.ndarray:
    """Of validation samples, by any form of the network."""
    goal, found = goal_of(artifact), []
    for at in range(0, len(bench.validation_B), MANY):
        part_B = bench.validation_B[at : at + MANY]
        batch = build_batch(bench.tensors, part_B, artifact.config.parent_hops)
        with torch.no_grad():
            found.append(prediction(goal.task, call(batch), goal.scale).numpy())
    return np.concatenate(found)


def taking_turns(calls: dict[str, Call], bench: Bench, hops: int) -> dict[str, dict]:
    """p50 and p95 in milliseconds of each form, for one sample and for many."""
    found: dict[str, dict] = {form: {} for form in calls}
    for count, rounds in ROUNDS.items():
        batch = build_batch(bench.tensors, bench.validation_B[:count], hops)
        taken: dict[str, list[float]] = {form: [] for form in calls}
        with torch.no_grad():
            for turn in range(rounds + 3):
                for form, call in calls.items():
                    start = time.perf_counter()
                    call(batch)
                    if turn >= 3:
                        taken[form].append((time.perf_counter() - start) * 1000)
        for form, times in taken.items():
            p50, p95 = np.quantile(times, [0.5, 0.95])
            found[form][str(count)] = {"p50_ms": float(p50), "p95_ms": float(p95)}
    return found


def criteria(source: Path, bench: Bench) -> list[dict]:
    """30 % pruned by each criterion, nothing trained, against as much pruned at random."""
    artifact = NexusFlowModelArtifact.load(source)
    kind, label_B = artifact.recipe.task.kind, bench.tensors.label_B[bench.validation_B]
    found = {}
    for criterion in Criterion:
        small = shrink(artifact, Unstructured(criterion=criterion), bench)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "small.nxf"
            small.save(path)
            found[criterion] = measured(path, criterion.value, bench, timed=False)
    metric = found[Criterion.RANDOM][0].metric.metric
    random: Exact = found[Criterion.RANDOM][1]
    return [
        {
            "criterion": criterion.value,
            "metric": report.metric.model_dump(),
            "better_than_random": paired_difference(
                metric, exact.prediction_B, random.prediction_B, label_B, bench.clusters_B
            ).model_dump(),
            "kind": kind.value,
        }
        for criterion, (report, exact) in found.items()
    ]


def dumped(report: FormReport) -> dict:
    """A report as JSON, without the times that are taken in turns."""
    return report.model_dump(mode="json", exclude={"latency_one", "latency_many"})


def page(results: list[dict]) -> str:
    """The results as Markdown."""
    lines = [
        "# Smaller and faster forms",
        "",
        "Written by `python benchmarks/optimize.py --page` from `optimize.json`. Validation",
        "samples; loss is of the metric against float32 eager; times are of the network on",
        "prepared batches, p50 / p95 ms, forms taking turns; faster is against float32 eager,",
        "by p50.",
    ]
    for found in results:
        lines += ["", f"## {found['project']}: {found['task']}", ""]
        lines += [
            f"{found['rows']} samples, {found['threads']} thread, torch "
            f"{found['versions']['torch']}, {found['versions']['machine']}.",
            "",
            "| form | MB | parameters | metric | loss | ECE | 1 sample | faster | "
            f"{MANY} samples | faster |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(_row(form, found["forms"][0]) for form in found["forms"]),
            "",
            "30 % pruned at once, nothing trained:",
            "",
            "| criterion | metric | better than random |",
            "|---|---|---|",
        ]
        for told in found["criteria"]:
            gain = told["better_than_random"]
            span = f"{gain['low']:+.4f} to {gain['high']:+.4f}"
            lines.append(
                f"| {told['criterion']} | {told['metric']['estimate']:.4f} "
                f"| {gain['estimate']:+.4f} ({span}) |"
            )
    return "\n".join(lines) + "\n"


def _row(form: dict, first: dict) -> str:
    if "refused" in form:
        return f"| {form['form']} | not made: {form['refused']} ||||||||"
    metric, wait = form["metric"], form["latency"]
    ece = form["calibration"]["error"] if form["calibration"] else float("nan")
    cells = [
        form["form"],
        f"{form['file_bytes'] / 1e6:.3f}",
        str(form["parameters"]),
        f"{metric['metric']} {metric['estimate']:.4f} "
        f"({metric['low']:.3f} to {metric['high']:.3f})",
        f"{form['loss']:+.4f}",
        f"{ece:.4f}",
    ]
    for count in (ONE, MANY):
        mine, theirs = wait[str(count)], first["latency"][str(count)]
        cells.append(f"{mine['p50_ms']:.2f} / {mine['p95_ms']:.2f}")
        cells.append(f"{theirs['p50_ms'] / mine['p50_ms']:.2f} x")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run, or only write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help="FILE:TASK")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else []
    for where in asked.tasks:
        found = run(where, ahead=asked.compiled)
        same = (found["project"], found["task"])
        known = [old for old in known if (old["project"], old["task"]) != same] + [found]
        RESULTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(known), encoding="utf-8")


if __name__ == "__main__":
    main()
