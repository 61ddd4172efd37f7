"""Smaller forms of a task's model: stages one after another, or the first that fits a size.

Everything is chosen on validation samples; test samples are not looked at.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nexus_model.align.samples import Split
from nexus_pipeline.project import ProjectConfig, optimization_of
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.steps.train_task import THREADS, training_config
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.api.shrink import Bench
    from nexus_model.api.smaller import SmallerReport, Stage

SMALLER, REPORT, TRIED = "model-smaller.nxf", "smaller.json", "tried"


def bench_of(project: ProjectConfig, task: str, store: Store) -> "Bench":
    """Samples of a task that a method may look at."""
    from nexus_model.api.shrink import Bench

    tensors, _ = open_tensors_of(project, task)
    splits = read_splits(task, store)
    validation_B = splits[Split.VALIDATION]
    return Bench(
        tensors,
        splits[Split.TRAIN],
        validation_B,
        splits.clusters_B[validation_B],
        training_config(project, len(splits[Split.TRAIN])),
    )


def make_smaller_task(
    project: ProjectConfig, task: str, store: Store, say: Callable[[str], None]
) -> "SmallerReport":
    """Write the smaller model beside the trained one, and ``smaller.json`` about what was tried.

    Raises:
        ConfigurationError: a method cannot do what is asked.
    """
    import torch

    from nexus_model.api.smaller import reach_size, run_stages

    torch.set_num_threads(THREADS)
    asked, folder = optimization_of(project), artifact_folder(project, task)
    bench, source, tried = bench_of(project, task, store), folder / FULL, folder / TRIED
    if asked.target_size_mb is None:
        found = run_stages(source, asked.methods(), bench, tried, say)
    else:
        found = reach_size(source, asked.target_size_mb, bench, tried, say)
    shutil.copyfile(found.path, folder / SMALLER)
    (folder / REPORT).write_text(found.report.model_dump_json(indent=1), encoding="utf-8")
    return found.report


def told_stages(report: "SmallerReport") -> str:
    """What was measured, as a Markdown table."""
    lines = [
        "| form | MB | parameters | metric | interval | loss | ECE | 1 sample, p50/p95 ms | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for stage in report.stages:
        found, one = stage.report, stage.report.latency_one
        ece = "" if found.calibration is None else f"{found.calibration.error:.4f}"
        lines.append(
            f"| {found.form} | {found.file_bytes / 1e6:.3f} | {found.parameters} "
            f"| {found.metric.metric} {found.metric.estimate:.4f} "
            f"| {found.metric.low:.4f} to {found.metric.high:.4f} | {found.loss:.4f} | {ece} "
            f"| {one.p50_ms:.1f} / {one.p95_ms:.1f} "
            if one
            else "| "
        )
        lines[-1] += f"| {'taken' if found.form == report.taken else ''} |"
    return "\n".join(lines)


def stage_folder(project: ProjectConfig, task: str, at: int) -> Path:
    """Where the model after a stage is, and what was measured of it."""
    return artifact_folder(project, task) / f"stage_{at + 1}"


def stage_task(project: ProjectConfig, task: str, store: Store, at: int) -> Stored:
    """One stage of the project's optimization, on the model of the stage before."""
    import torch

    from nexus_model.api.form_report import measured
    from nexus_model.api.shrink import shrink
    from nexus_model.api.smaller import TRAINED, allowances, judged
    from nexus_model.artifact.model_file import NexusFlowModelArtifact

    torch.set_num_threads(THREADS)
    methods, bench = optimization_of(project).methods(), bench_of(project, task, store)
    method, trained = methods[at], artifact_folder(project, task) / FULL
    folder = stage_folder(project, task, at)
    before = trained if at == 0 else stage_folder(project, task, at - 1) / FULL
    folder.mkdir(parents=True, exist_ok=True)
    smaller = shrink(NexusFlowModelArtifact.load(before), method, bench)
    hashed = smaller.save(folder / FULL)
    _, exact = measured(trained, TRAINED, bench, timed=False)
    form = "+".join(done.kind for done in methods[: at + 1])
    stage = judged(folder / FULL, form, bench, exact, allowances(methods)[at])
    (folder / REPORT).write_text(stage.model_dump_json(indent=1), encoding="utf-8")
    report = stage.report
    return Stored(
        location=relative(folder / FULL, project.root),
        sha256=hashed,
        rows=len(smaller.weights),
        facts={
            "file_bytes": report.file_bytes,
            "parameters": report.parameters,
            f"validation_{report.metric.metric}": report.metric.estimate,
            "loss": report.loss,
        },
    )


def read_stage(project: ProjectConfig, task: str, at: int) -> "Stage":
    """What was measured of a stage."""
    from nexus_model.api.smaller import Stage

    path = stage_folder(project, task, at) / REPORT
    return Stage.model_validate_json(path.read_text(encoding="utf-8"))
