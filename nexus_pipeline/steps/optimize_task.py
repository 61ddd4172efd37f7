"""Optimized: the trained model as one ``.nxf`` file, and a smaller INT8 one, both measured."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_model.align.samples import Split
from nexus_model.evaluate.metrics import measure, primary_metric
from nexus_model.schema import TaskSpec
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.stored import Fact, Stored, relative
from nexus_pipeline.steps.text_model import text_model_place
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.steps.train_task import THREADS, judged_predictions, model_folder, read_curve
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    import numpy as np

    from nexus_model.optimize.report import SizeReport

FULL, SMALL = "model.nxf", "model-int8.nxf"
LATENCY_CALLS = 30


def artifact_folder(project: ProjectConfig, task: str) -> Path:
    """Where a task's artifacts are."""
    return project.stage_folder("optimized", task)


def optimize_task(
    project: ProjectConfig, task: str, store: Store, lineage: dict[str, Any]
) -> Stored:
    """Write both files and ``report.json``: bytes, validation metric and latency, as measured."""
    import torch
    from safetensors.torch import load_file

    from nexus_model.artifact.model_file import NexusFlowModelArtifact
    from nexus_model.config import NexusConfig
    from nexus_model.optimize.int8 import quantize_weights, stays_float

    torch.set_num_threads(THREADS)
    recipe, trained = read_recipe(project, task), model_folder(project, task)
    _, tokenizer = open_tensors_of(project, task)
    config = NexusConfig.model_validate_json((trained / "config.json").read_text(encoding="utf-8"))
    weights = load_file(trained / "weights.safetensors")
    folder = artifact_folder(project, task)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = trained_metrics(project, task, recipe.task)
    metrics |= _card(project, task, store)
    for left in folder.glob(".*.unfinished"):  # by a process that was killed
        left.unlink()
    hashes = {}
    small = quantize_weights(weights, keep=stays_float)
    for name, tensors in ((FULL, weights), (SMALL, small)):
        artifact = NexusFlowModelArtifact(
            recipe,
            tokenizer,
            config,
            tensors,
            metrics=metrics,
            lineage=lineage,
            optimization={"weights": "fp32" if name == FULL else "int8"},
        )
        hashes[name] = artifact.save(folder / name)
    report = measure_artifacts(project, task, store, (weights, small))
    (folder / "report.json").write_text(report.model_dump_json(indent=1), encoding="utf-8")
    return Stored(
        location=relative(folder / FULL, project.root),
        sha256=hashes[FULL],
        rows=len(weights),
        facts={"int8_sha256": hashes[SMALL], **_facts(report)},
    )


def trained_metrics(project: ProjectConfig, task: str, asked: TaskSpec) -> dict[str, Any]:
    """The validation score the weights were kept for, and where it comes from."""
    best = [report for report in read_curve(project, task) if report["best"]][-1]
    return {
        "metric": primary_metric(asked).name,
        "split": Split.VALIDATION.value,
        "score": best["score"],
        "epoch": best["epoch"],
    }


def _card(project: ProjectConfig, task: str, store: Store) -> dict[str, Any]:
    """What the model card needs of validation, if the project has a card."""
    if project.card is None:
        return {}
    from nexus_pipeline.steps.model_card import stored_card
    from nexus_pipeline.steps.tokenize_task import read_labels

    metric = primary_metric(read_recipe(project, task).task)
    held_B = read_splits(task, store)[Split.VALIDATION]
    judged = judged_predictions(project, task)
    return stored_card(project.card, metric, judged, read_labels(task, store)[held_B])


def measure_artifacts(
    project: ProjectConfig, task: str, store: Store, states: tuple[Any, Any]
) -> "SizeReport":
    """Size, validation metric, and latency of one sample, of both files as they are loaded."""
    from nexus_model.apply import predict_samples
    from nexus_model.optimize.report import compare_sizes, measure_latency
    from nexus_model.serve.predictor import load_model

    recipe, splits = read_recipe(project, task), read_splits(task, store)
    tensors, tokenizer = open_tensors_of(project, task)
    chosen_B = splits[Split.VALIDATION]
    metric = primary_metric(recipe.task)
    files = [artifact_folder(project, task) / name for name in (FULL, SMALL)]
    place = text_model_place(project)
    models = [load_model(path, text_model=place).model for path in files]

    def predict(which: int, rows_B: "np.ndarray") -> "np.ndarray":
        return predict_samples(models[which], tensors, rows_B, recipe.task, tokenizer.label)

    one_B = chosen_B[:1]
    return compare_sizes(
        files=(files[0], files[1]),
        states=states,
        predictions=(predict(0, chosen_B), predict(1, chosen_B)),
        metric=metric.name,
        score=lambda found: measure(metric, found, tensors.label_B[chosen_B]),
        latency=(
            measure_latency(lambda: predict(0, one_B), calls=LATENCY_CALLS),
            measure_latency(lambda: predict(1, one_B), calls=LATENCY_CALLS),
        ),
    )


def _facts(report: "SizeReport") -> dict[str, Fact]:
    facts: dict[str, Fact] = {
        "fp32_bytes": int(report.file_bytes.float32),
        "int8_bytes": int(report.file_bytes.int8),
        "int8_bytes_ratio": report.file_bytes.ratio,
        f"validation_{report.metric}_fp32": report.score.float32,
        f"validation_{report.metric}_int8": report.score.int8,
        "int8_largest_difference": report.largest_difference,
    }
    for name, latency in (("fp32", report.latency_float32), ("int8", report.latency_int8)):
        if latency is not None:
            facts[f"{name}_p50_ms"], facts[f"{name}_p95_ms"] = latency.p50_ms, latency.p95_ms
    return facts


def read_size_report(project: ProjectConfig, task: str) -> "SizeReport":
    """The report ``optimize_task`` wrote."""
    from nexus_model.optimize.report import SizeReport

    path = artifact_folder(project, task) / "report.json"
    return SizeReport.model_validate_json(path.read_text(encoding="utf-8"))
