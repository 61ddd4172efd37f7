"""Ensemble: several trainings of the model averaged, alone and beside boosting.

B samples. Predictions of validation samples come from trainings that had not seen them, those of
test samples from the last training of each member; so weights are chosen on the former alone.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from nexus_model.align.samples import Split
from nexus_model.evaluate.blend import blend, steady_weight
from nexus_model.evaluate.bootstrap import Drawn, Interval, PairedDifference, draw_metric
from nexus_model.evaluate.metrics import Metric, measure, primary_metric
from nexus_model.schema import Record, TaskKind, TaskSpec
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig, ensemble_of
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.evaluation import MODEL
from nexus_pipeline.steps.member import Member, Training, train_member
from nexus_pipeline.steps.stored import Stored, aligned_view, relative
from nexus_pipeline.steps.tokenize_task import Splits, read_labels, read_splits
from nexus_pipeline.storage import Store

AVERAGED, STACK = "nexusformer_ensemble", "stack"
OPPONENT = "lightgbm_aggregates"


class Scored(Record):
    """One predictor: its mean validation score; on test the score of its runs' average with an
    interval, the score of each run, and how much better the runs are on average than those of
    boosting on aggregates on the same draws.
    """

    name: str
    validation: float
    test: Interval
    runs: tuple[float, ...]
    against_boosting: PairedDifference | None
    seconds: float
    cpu_seconds: float


class Ensemble(Record):
    """What an ensemble consists of, and how it compares; ``weight`` is the model's in the stack."""

    project: str
    task: str
    kind: TaskKind
    metric: str
    weight: float
    trainings: tuple[Training, ...]
    scores: tuple[Scored, ...]


def ensemble_folder(project: ProjectConfig, task: str) -> Path:
    """Where an ensemble's predictions and figures are."""
    return project.stage_folder("evaluated", f"ensemble_{task}")


def ensemble_task(
    project: ProjectConfig, task: str, store: Store, upstream: Mapping[str, str], log: ProgressLog
) -> tuple[Stored, str]:
    """Train every member, boost as often, blend; write predictions, figures and their table."""
    from nexus_pipeline.steps.baselines import run_baselines

    folder, splits = ensemble_folder(project, task), read_splits(task, store)
    folder.mkdir(parents=True, exist_ok=True)
    recipe, label_B = read_recipe(project, task), read_labels(task, store)
    members = _members(project, task, splits, upstream, log)
    log.line(f"ensemble/{task}: boosting")
    with aligned_view(store, recipe.database) as con:
        seeds = ensemble_of(project).seeds
        found = run_baselines(
            con,
            recipe.database,
            recipe.task,
            seed=project.training.seed,
            runs=seeds,
            refit=project.training.refit,
        )
    runs = {baseline.name: baseline.by_run for baseline in found}
    costs = {b.name: (b.seconds, b.cpu_seconds) for b in found}
    asked = recipe.task
    runs[MODEL] = np.stack([member.prediction for member in members])
    averaged_B = _averaged(runs[MODEL])
    boosted_B = runs[OPPONENT].mean(axis=0)
    weight = _weight(asked, averaged_B, boosted_B, label_B, splits)
    runs[AVERAGED] = averaged_B[None]
    runs[STACK] = blend(asked.kind, averaged_B, boosted_B, weight)[None]
    spent = np.sum([(m.training.seconds, m.training.cpu_seconds) for m in members], axis=0)
    costs |= {MODEL: tuple(spent / len(members)), AVERAGED: tuple(spent)}
    costs[STACK] = tuple(spent + costs[OPPONENT])
    for name, by_run in runs.items():
        np.save(folder / f"{name}.npy", by_run, allow_pickle=False)
    metric = primary_metric(asked)
    ensemble = Ensemble(
        project=project.project_name,
        task=task,
        kind=asked.kind,
        metric=metric.name,
        weight=weight,
        trainings=tuple(member.training for member in members),
        scores=tuple(_scored(metric, runs, costs, label_B, splits)),
    )
    text = as_markdown(ensemble)
    content = ensemble.model_dump(mode="json")
    (folder / "ensemble.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (folder / "ensemble.md").write_text(text, encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=len(label_B),
        facts={
            f"test_{metric.name}/{score.name}": score.test.estimate for score in ensemble.scores
        },
    ), text


def _members(
    project: ProjectConfig,
    task: str,
    splits: Splits,
    upstream: Mapping[str, str],
    log: ProgressLog,
) -> list[Member]:
    """The judged members, then those that train for as many epochs as they chose on average."""
    config, folder = ensemble_of(project), ensemble_folder(project, task)
    judged = config.judged_seeds if project.training.refit else config.seeds
    members: list[Member] = []
    for number in range(config.seeds):
        chosen = [member.training.epochs for member in members[:judged]]
        epochs = None if number < judged else max(1, round(float(np.mean(chosen))))
        seed = project.training.seed + number
        log.line(f"ensemble/{task}: training {number + 1} of {config.seeds}")
        members.append(train_member(project, task, splits, folder, upstream, seed, epochs, log))
    return members


def _weight(
    asked: TaskSpec,
    model_B: np.ndarray,
    boosted_B: np.ndarray,
    label_B: np.ndarray,
    splits: Splits,
) -> float:
    """The model's in the stack, chosen on validation samples."""
    asked_B = splits[Split.VALIDATION]
    moments_B = splits.moments_B[asked_B]
    return steady_weight(asked, model_B[asked_B], boosted_B[asked_B], label_B[asked_B], moments_B)


def _averaged(by_run: np.ndarray) -> np.ndarray:
    """Mean over the runs that predict a sample; NaN where none does."""
    known = np.isfinite(by_run)
    total = np.where(known, by_run, 0.0).sum(axis=0)
    return np.asarray(np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan))


def _scored(
    metric: Metric,
    runs: Mapping[str, np.ndarray],
    costs: Mapping[str, tuple[float, float]],
    label_B: np.ndarray,
    splits: Splits,
) -> Iterator[Scored]:
    """Every predictor; several runs are compared with boosting's runs, one with their average."""
    test_B, validation_B = splits[Split.TEST], splits[Split.VALIDATION]

    def drawn(*several: np.ndarray) -> Drawn:
        return draw_metric(metric, several, label_B[test_B], splits.clusters_B[test_B])

    alone = drawn(*runs[OPPONENT][:, test_B])
    averaged = drawn(_averaged(runs[OPPONENT][:, test_B]))
    for name, by_run in runs.items():
        tested, judged = drawn(*by_run[:, test_B]), by_run[:, validation_B]
        seen = [run for run in judged if np.isfinite(run).all()]
        rival = alone if len(by_run) > 1 else averaged
        yield Scored(
            name=name,
            validation=float(np.mean([measure(metric, p, label_B[validation_B]) for p in seen])),
            test=drawn(_averaged(by_run[:, test_B])).interval(),
            runs=tested.by_run,
            against_boosting=None if name == OPPONENT else tested.less(rival),
            seconds=float(costs[name][0]),
            cpu_seconds=float(costs[name][1]),
        )


def as_markdown(ensemble: Ensemble) -> str:
    """Every predictor's score, and how it differs from boosting on aggregates."""
    lines = [
        f"# Ensemble of {ensemble.project}/{ensemble.task}",
        "",
        f"{ensemble.metric}; the stack is {ensemble.weight:.0%} NexusFormer, chosen on validation "
        "samples. Test: mean of the runs; difference to boosting on aggregates, paired by cutoff.",
        "",
        "| predictor | validation | test, mean of runs | lowest to highest | less boosting "
        "| 95 % interval | P(better) | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for score in ensemble.scores:
        against = score.against_boosting
        told = (
            " | | "
            if against is None
            else (
                f"{against.estimate:+.4f} | {against.low:+.4f} to {against.high:+.4f} "
                f"| {against.probability_better:.3f}"
            )
        )
        lines.append(
            f"| {score.name} | {score.validation:.4f} | {np.mean(score.runs):.4f} "
            f"| {min(score.runs):.4f} to {max(score.runs):.4f} | {told} | {score.cpu_seconds:.0f} |"
        )
    return "\n".join(lines) + "\n"
