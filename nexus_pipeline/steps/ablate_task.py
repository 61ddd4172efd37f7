"""Ablation: the model trained with one thing changed at a time, compared on validation samples.

A training that was finished is read back, so a run that was cut short goes on where it stopped.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from nexus_model.align.samples import Split
from nexus_model.evaluate.bootstrap import PairedDifference, mean_paired_difference
from nexus_model.evaluate.metrics import Direction, measure, primary_metric
from nexus_model.schema import Record
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig, ablation_of, pretraining_of
from nexus_pipeline.steps.align import folder_hash, read_recipe
from nexus_pipeline.steps.pretrain_task import pretrained_weights
from nexus_pipeline.steps.records import fingerprint
from nexus_pipeline.steps.stored import Stored, relative
from nexus_pipeline.steps.tokenize_task import open_tensors_of, read_splits
from nexus_pipeline.steps.variants import DEFAULT, Variant, variants
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from torch import Tensor

    from nexus_model.tokenize.batch import TaskTensors

Pretrained: TypeAlias = "Callable[[], dict[str, Tensor]]"


class Ablated(Record):
    """One variant: mean validation score, and how it differs from the model as configured."""

    group: str
    name: str
    score: float
    scores: tuple[float, ...]
    difference: PairedDifference | None
    seconds: float
    parameters: int


class Ablation(Record):
    """Every variant of a task."""

    project: str
    task: str
    metric: str
    higher_is_better: bool
    samples: int
    seeds: int
    rows: tuple[Ablated, ...]


def ablation_folder(project: ProjectConfig, task: str) -> Path:
    """Where an ablation's predictions and tables are."""
    return project.stage_folder("evaluated", f"ablation_{task}")


def ablate_task(
    project: ProjectConfig, task: str, store: Store, upstream: Mapping[str, str], log: ProgressLog
) -> tuple[Stored, str]:
    """Train every variant; write ``ablation.json`` and ``ablation.md``, whose text is returned."""
    folder, splits = ablation_folder(project, task), read_splits(task, store)
    tensors, _ = open_tensors_of(project, task)
    validation_B = splits[Split.VALIDATION]
    label_B, clusters_B = tensors.label_B[validation_B], splits.clusters_B[validation_B]
    metric = primary_metric(read_recipe(project, task).task)
    found: dict[str, list[np.ndarray]] = {}
    rows = []

    @cache
    def pretrained() -> "dict[str, Tensor]":
        return pretrained_weights(project, task, store, log)[0]

    for variant in variants(project, task):
        told = []
        for seed in range(ablation_of(project).seeds):
            log.line(f"ablation/{task}: {variant.name}, seed {seed}")
            told.append(_trained(project, task, store, upstream, variant, seed, log, pretrained))
        predictions = [np.load(at, allow_pickle=False) for at, _ in told]
        found[variant.name] = predictions
        scores = tuple(float(measure(metric, p, label_B)) for p in predictions)
        base = found[variant.against]
        rows.append(
            Ablated(
                group=variant.group or "",
                name=variant.name,
                score=float(np.mean(scores)),
                scores=scores,
                difference=None
                if variant.name == DEFAULT
                else mean_paired_difference(metric, predictions, base, label_B, clusters_B),
                seconds=sum(float(facts["seconds"]) for _, facts in told),
                parameters=int(told[0][1]["parameters"]),
            )
        )
    ablation = Ablation(
        project=project.project_name,
        task=task,
        metric=metric.name,
        higher_is_better=metric.direction is Direction.MAX,
        samples=len(validation_B),
        seeds=ablation_of(project).seeds,
        rows=tuple(rows),
    )
    text = as_markdown(ablation)
    (folder / "ablation.json").write_text(ablation.model_dump_json(indent=1), encoding="utf-8")
    (folder / "ablation.md").write_text(text, encoding="utf-8")
    return Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=len(rows),
        facts={f"{metric.name}/{row.name}": row.score for row in rows},
    ), text


def _trained(
    project: ProjectConfig,
    task: str,
    store: Store,
    upstream: Mapping[str, str],
    variant: Variant,
    seed: int,
    log: ProgressLog,
    pretrained: Pretrained,
) -> tuple[Path, Mapping[str, float]]:
    """Validation predictions of one training, and what it cost; read back if it was done before."""
    changed = variant.of(project)
    told = changed.architecture.model_dump_json() + changed.training.on_one_device.model_dump_json()
    config = {
        "model": told,
        "tables": {d.table: d.encoder_settings() for d in changed.datasets},
        "variant": variant.model_dump(mode="json", exclude={"architecture", "tables"}),
        "pretraining": pretraining_of(project).model_dump() if variant.pretrained else None,
        "epochs": ablation_of(project).epochs,
        "seed": seed,
    }
    folder = ablation_folder(project, task)
    folder.mkdir(parents=True, exist_ok=True)
    at = folder / f"{fingerprint(variant.name, config, upstream)[:16]}.npy"
    facts = at.with_suffix(".json")
    if not facts.is_file():
        started = time.perf_counter()
        prediction_B, parameters = _train(changed, task, store, variant, seed, log, pretrained)
        np.save(at, prediction_B, allow_pickle=False)
        cost = {"seconds": time.perf_counter() - started, "parameters": parameters}
        facts.write_text(json.dumps(cost), encoding="utf-8")
    return at, json.loads(facts.read_text(encoding="utf-8"))


def _train(
    project: ProjectConfig,
    task: str,
    store: Store,
    variant: Variant,
    seed: int,
    log: ProgressLog,
    pretrained: Pretrained,
) -> tuple[np.ndarray, int]:
    """Validation predictions of a variant trained from one seed, and its number of weights."""
    import torch

    from nexus_model.apply import predict_samples
    from nexus_pipeline.steps.model_plan import fresh_model, goal_of
    from nexus_pipeline.steps.pretrain_task import start_from
    from nexus_pipeline.steps.train_task import THREADS, fit_silently, training_config

    torch.set_num_threads(THREADS)
    recipe, splits = read_recipe(project, task), read_splits(task, store)
    tensors, tokenizer = open_tensors_of(project, task)
    tensors = _without(tensors, variant.without)
    epochs = ablation_of(project).epochs or project.training.epochs
    train_B = _some(splits[Split.TRAIN], variant.label_share, seed)
    config = training_config(project, len(train_B))
    config = config.model_copy(update={"seed": seed, "epochs": epochs})
    also = () if variant.own_label_only else tensors.also
    goal = goal_of(recipe, tokenizer, also)
    model = fresh_model(project, recipe, tokenizer, seed, also)
    if variant.pretrained:
        start_from(model, pretrained(), task, log)
    state = fit_silently(model, tensors, (train_B, splits[Split.VALIDATION]), goal, config)
    found = predict_samples(
        state.model, tensors, splits[Split.VALIDATION], recipe.task, tokenizer.label
    )
    return found, sum(parameter.numel() for parameter in model.parameters())


def _some(samples_B: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of the samples, at least two, the same for every variant of a seed."""
    count = max(2, round(share * len(samples_B)))
    return np.sort(np.random.default_rng(seed).permutation(samples_B)[:count])


def _without(tensors: "TaskTensors", table: str | None) -> "TaskTensors":
    from nexus_model.tokenize.without import without_table

    return tensors if table is None else without_table(tensors, table)


def as_markdown(ablation: Ablation) -> str:
    """The grid as a table, best first within a group; a difference counts if its interval does."""
    better = "higher" if ablation.higher_is_better else "lower"
    lines = [
        f"# Ablation of {ablation.project}/{ablation.task}",
        "",
        f"{ablation.metric} on {ablation.samples} validation samples, {better} is better; "
        f"{ablation.seeds} training(s) each. The difference is to the model as configured (of "
        "pretrained ones: to the same labels without pretraining), with its 95 % interval over "
        "clusters of samples; the epoch was chosen on the same samples.",
        "",
        "| group | variant | score | difference | 95 % interval | verdict | seconds | parameters |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row, higher_is_better=ablation.higher_is_better) for row in _ordered(ablation)]
    return "\n".join(lines) + "\n"


def _ordered(ablation: Ablation) -> Sequence[Ablated]:
    sign = -1 if ablation.higher_is_better else 1
    groups = list(dict.fromkeys(row.group for row in ablation.rows))
    return sorted(ablation.rows, key=lambda row: (groups.index(row.group), sign * row.score))


def _line(row: Ablated, *, higher_is_better: bool) -> str:
    told = ["", "", ""]
    if row.difference is not None:
        found = row.difference
        told = [f"{found.estimate:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}"]
        told.append(verdict(found, higher_is_better=higher_is_better))
    cells = [row.group, row.name, f"{row.score:.4f}", *told]
    return f"| {' | '.join([*cells, f'{row.seconds:.0f}', f'{row.parameters:,}'])} |"


def verdict(difference: PairedDifference, *, higher_is_better: bool) -> str:
    """Whether a variant is better or worse beyond noise."""
    if not (difference.low > 0 or difference.high < 0):
        return "no difference seen"
    return "better" if (difference.estimate > 0) is higher_is_better else "worse"
