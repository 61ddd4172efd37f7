"""Evaluated: predictions of the artifact and of every baseline, brought into one report."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nexus_model.align.samples import Split
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.names import DEFAULT_FILE
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.evaluation import MODEL, Evaluation, evaluation_folder
from nexus_pipeline.steps.optimize_task import FULL, artifact_folder, read_size_report
from nexus_pipeline.steps.records import fingerprint
from nexus_pipeline.steps.stored import Stored, aligned_view, relative
from nexus_pipeline.steps.text_model import text_model_place
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_labels, read_splits
from nexus_pipeline.steps.train_task import THREADS, judged_predictions, read_curve
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.model import NexusFormer
    from nexus_model.tokenize.batch import TaskTensors
    from nexus_pipeline.steps.explain_task import TaskModel
    from nexus_pipeline.steps.report import Attention, Background, EvaluationReport

FLOW_SAMPLES = 256


class Evaluated(NamedTuple):
    """Reference to the report, its table and the model card as Markdown."""

    stored: Stored
    table: str
    card: str


def baseline_folder(project: ProjectConfig, task: str) -> Path:
    """Where the baselines' predictions are."""
    return project.stage_folder("evaluated", task, "baselines")


def make_baselines(project: ProjectConfig, task: str, store: Store) -> Stored:
    """Every baseline's prediction for every sample, as ``.npy`` beside their costs and the SQL of
    the aggregates that boosting reads.
    """
    from nexus_pipeline.steps.aggregates import feature_sql
    from nexus_pipeline.steps.baselines import run_baselines
    from nexus_pipeline.steps.report import Cost

    recipe, folder = read_recipe(project, task), baseline_folder(project, task)
    folder.mkdir(parents=True, exist_ok=True)
    with aligned_view(store, recipe.database) as con:
        found = run_baselines(
            con,
            recipe.database,
            recipe.task,
            seed=project.training.seed,
            refit=project.training.refit,
        )
        sql = feature_sql(con, recipe.database, recipe.task)
    (folder / "features.sql").write_text(sql, encoding="utf-8")
    costs = {}
    for baseline in found:
        np.save(folder / f"{baseline.name}.npy", baseline.prediction, allow_pickle=False)
        cost = Cost(seconds=baseline.seconds, cpu_seconds=baseline.cpu_seconds, note=baseline.note)
        costs[baseline.name] = cost.model_dump()
    (folder / "costs.json").write_text(json.dumps(costs, indent=1), encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=len(found[0].prediction),
        facts={f"{baseline.name}/seconds": baseline.seconds for baseline in found},
    )


def evaluate_task(
    project: ProjectConfig, task: str, store: Store, provenance: dict[str, str]
) -> Evaluated:
    """Measure, compare, explain; write ``metrics.json``, ``report.html``, ``evaluation.json``."""
    import torch

    from nexus_model.apply import predict_samples
    from nexus_model.evaluate.metrics import primary_metric
    from nexus_model.explain.outcome import Asked
    from nexus_model.serve.predictor import load_model
    from nexus_pipeline.steps.explain_task import TaskModel, segments_of
    from nexus_pipeline.steps.model_card import write_card
    from nexus_pipeline.steps.report import Cost, evaluate_predictions, sliced, write_report
    from nexus_pipeline.steps.report_ranking import slice_scores

    torch.set_num_threads(THREADS)
    recipe, splits = read_recipe(project, task), read_splits(task, store)
    tensors, tokenizer = open_tensors_of(project, task)
    file = artifact_folder(project, task) / FULL
    predictor = load_model(file, text_model=text_model_place(project))
    every_B = np.arange(len(splits.split_B))
    own = predict_samples(predictor.model, tensors, every_B, recipe.task, tokenizer.label)
    own[splits[Split.VALIDATION]] = judged_predictions(project, task)
    costs, baselines = _made_baselines(project, task)
    predictions = {MODEL: own} | baselines
    commit = git_commit(project.root)
    asked = Asked(predictor.model, recipe.task, tokenizer.label)
    told = TaskModel(asked, recipe, tokenizer, tensors, splits)
    dated = recipe.task.horizon_days is not None
    clusters_B = splits.clusters_B.astype("datetime64[us]") if dated else None
    rows = (read_labels(task, store), splits.split_B, clusters_B)
    report = evaluate_predictions(
        recipe.task,
        *rows,
        predictions,
        costs={name: Cost(**cost) for name, cost in costs.items()},
        background=_background(project, told, store, own, {**provenance, "git_commit": commit}),
    )
    segments = segments_of(told)
    report = sliced(report, rows, own, segments)
    folder = evaluation_folder(project, task)
    page = write_report(folder, report)
    card = write_card(folder, artifact_folder(project, task) / FULL, project.card)
    metric = primary_metric(recipe.task)
    scores = slice_scores(metric, own, rows[0], segments, within_B=splits[Split.VALIDATION])
    evaluation = _summary(project, task, report, commit, scores)
    (folder / "evaluation.json").write_text(evaluation.model_dump_json(indent=1), encoding="utf-8")
    facts = {
        f"{split}_{report.metric}/{name}": score
        for split, scores in evaluation.by_split.items()
        for name, score in scores.items()
    }
    stored = Stored(
        location=relative(page, project.root),
        sha256=folder_hash(folder),
        rows=len(every_B),
        facts=dict(facts),
    )
    return Evaluated(stored, comparison_table(report), card)


def _made_baselines(
    project: ProjectConfig, task: str
) -> tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]:
    """Costs and predictions by baseline, as ``make_baselines`` wrote them."""
    folder = baseline_folder(project, task)
    costs: dict[str, dict[str, Any]] = json.loads((folder / "costs.json").read_text("utf-8"))
    return costs, {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in costs}


def _background(
    project: ProjectConfig,
    told: "TaskModel",
    store: Store,
    own: np.ndarray,
    provenance: dict[str, str],
) -> "Background":
    """What is shown beside the scores; explained on validation samples."""
    from nexus_pipeline.steps.data_card import data_card
    from nexus_pipeline.steps.explain_task import distributions, explain_task
    from nexus_pipeline.steps.report import Background, CurvePoint

    recipe, task, splits = told.recipe, told.recipe.task.name, told.splits
    return Background(
        project=project.project_name,
        curve=tuple(CurvePoint(**point) for point in read_curve(project, task)),
        attention=_attention(told.asked.model, told.tensors, splits[Split.VALIDATION]),
        sizes=read_size_report(project, task),
        provenance=provenance,
        data=data_card(store, recipe.database, recipe.entity.name),
        explanations=explain_task(told, store, own),
        distributions=distributions(told, own),
        reproduce=f"nexusflow train --project {DEFAULT_FILE} --task {task}",
    )


def comparison_table(report: "EvaluationReport") -> str:
    """Every model's primary metric on test with its interval, as Markdown."""
    lines = [f"| model | test {report.metric} | 95 % interval | validation |", "|---|---|---|---|"]
    for model in report.models:
        test, validation = model.test[0], model.validation[0]
        lines.append(
            f"| {model.name} | {test.estimate:.4f} | {test.low:.4f} to {test.high:.4f} "
            f"| {validation.estimate:.4f} |"
        )
    return "\n".join(lines)


def git_commit(root: Path) -> str:
    """The commit the project's files are at, or ``unknown`` outside a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git the user has
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _summary(
    project: ProjectConfig,
    task: str,
    report: "EvaluationReport",
    commit: str,
    slices: dict[str, float],
) -> Evaluation:
    from nexus_model.artifact.archive import read_archive
    from nexus_model.evaluate.metrics import CALIBRATION

    artifact = read_archive(artifact_folder(project, task) / FULL)
    raw = artifact.json("lineage.json").get("raw", {})
    own = next(model for model in report.models if model.name == MODEL)
    error = next((found.estimate for found in own.validation if found.metric in CALIBRATION), None)
    return Evaluation(
        slices=slices,
        calibration_error=error,
        metric=report.metric,
        artifact_sha256=artifact.content_hash,
        data_fingerprint=fingerprint("raw", {}, raw),
        commit=commit,
        by_split={
            "validation": {m.name: m.validation[0].estimate for m in report.models},
            "test": {m.name: m.test[0].estimate for m in report.models},
        },
    )


def _attention(
    model: "NexusFormer", tensors: "TaskTensors", chosen_B: np.ndarray
) -> "Attention | None":
    """Attention flow of the last cycle over some validation samples; none without cycles."""
    from nexus_model.explain.attention_flow import attention_flow
    from nexus_pipeline.steps.report import Attention

    flow = attention_flow(model, tensors, chosen_B[:FLOW_SAMPLES])
    if not flow.cycles:
        return None
    return Attention(tables=flow.paths, weights=flow.cycles[-1])
