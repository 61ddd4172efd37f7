"""Evaluated: the model beside every baseline, how sure that is, and one page that shows it.

The best baseline is the best on *validation*; the comparison is made on *test*, on the same
bootstrap draws of whole cutoffs. ``metrics.json`` holds every number the page shows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nexus_model.evaluate.bootstrap import interval, paired_difference
from nexus_model.evaluate.calibration import Platt, ResidualTable, Temperature, reliability
from nexus_model.evaluate.metrics import Direction, ece, metrics_of, primary_metric
from nexus_model.evaluate.quantiles import LevelShifts, shares_below
from nexus_model.evaluate.weighted import is_held, promised_share
from nexus_model.schema import TaskKind, TaskSpec
from nexus_pipeline.steps.report_facts import Slice
from nexus_pipeline.steps.report_page import render_page
from nexus_pipeline.steps.report_ranking import confusion, ranking, slices, spread
from nexus_pipeline.steps.report_record import (
    MODEL,
    Attention,
    Background,
    Calibration,
    Comparison,
    Cost,
    Coverage,
    CurvePoint,
    EvaluationReport,
    LevelShare,
    ModelResult,
    Residuals,
    SplitFacts,
)

__all__ = [
    "MODEL",
    "Attention",
    "Background",
    "Cost",
    "CurvePoint",
    "EvaluationReport",
    "evaluate_predictions",
    "write_report",
]

SPLITS = ("train", "validation", "test")
METRICS_FILE, PAGE_FILE = "metrics.json", "report.html"

_MOST_POINTS = 500


def evaluate_predictions(
    task: TaskSpec,
    labels: ArrayLike,
    splits: ArrayLike,
    clusters: ArrayLike | None,
    predictions: Mapping[str, ArrayLike],
    *,
    costs: Mapping[str, Cost] | None = None,
    background: Background | None = None,
    draws: int = 1000,
) -> EvaluationReport:
    """Measure every prediction (for all samples, in sample order) on validation and test.

    ``predictions`` holds ``nexusformer`` and any number of baselines; ``clusters`` are the cutoffs,
    None or all NaT for a static task.

    Raises:
        ValueError: ``nexusformer`` is missing, or a prediction is not for every sample.
    """
    if MODEL not in predictions:
        raise ValueError(f"predictions must hold {MODEL!r}, got {sorted(predictions)}")
    rows = _Rows(task, labels, splits, clusters, draws)
    said = {name: np.asarray(p, dtype=np.float64) for name, p in predictions.items()}
    for name, prediction in said.items():
        if len(prediction) != len(rows.label):
            raise ValueError(f"{name}: {len(prediction)} predictions for {len(rows.label)} samples")
    names = [MODEL, *(name for name in said if name != MODEL)]
    models = tuple(rows.result(name, said[name], (costs or {}).get(name)) for name in names)
    metric = primary_metric(task)
    best = _best(models[1:], metric.direction)
    return EvaluationReport(
        task=task,
        metric=metric.name,
        direction=metric.direction,
        models=models,
        best_baseline=best,
        comparisons=tuple(rows.comparison(said[MODEL], name, said[name]) for name in names[1:]),
        splits=tuple(rows.facts(split) for split in SPLITS),
        **rows.held_to_account(said[MODEL]),
        background=background or Background(),
        **rows.pictures({name: said[name] for name in (MODEL, best) if name is not None}),
    )


def sliced(
    report: EvaluationReport,
    rows: tuple[ArrayLike, ArrayLike, ArrayLike | None],
    said: ArrayLike,
    segments: Mapping[str, NDArray[np.str_]],
) -> EvaluationReport:
    """The report with the metric apart by segments, values of all samples.

    ``rows`` are labels, splits and clusters as for ``evaluate_predictions``; ``said`` is ours.
    """
    found = _Rows(report.task, *rows, draws=0).slices(np.asarray(said, np.float64), segments)
    return report.model_copy(update={"slices": found})


def write_report(folder: Path, evaluation: EvaluationReport) -> Path:
    """Write ``metrics.json`` and ``report.html``, one page that needs nothing else; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS_FILE).write_text(evaluation.model_dump_json(indent=1), encoding="utf-8")
    page = folder / PAGE_FILE
    page.write_text(render_page(evaluation), encoding="utf-8")
    return page


def _best(baselines: tuple[ModelResult, ...], direction: Direction) -> str | None:
    sign = 1 if direction is Direction.MIN else -1
    # A metric that is not defined on validation comes last.
    ranked = sorted(
        baselines, key=lambda model: np.nan_to_num(sign * model.validation[0].estimate, nan=np.inf)
    )
    return ranked[0].name if ranked else None


class _Rows:
    """Labels, splits and clusters of all samples, and what is measured on them."""

    def __init__(
        self,
        task: TaskSpec,
        labels: ArrayLike,
        splits: ArrayLike,
        clusters: ArrayLike | None,
        draws: int,
    ) -> None:
        self.task, self.metric, self.draws = task, primary_metric(task), draws
        self.label = np.asarray(labels, dtype=np.float64)
        self.split: NDArray[np.str_] = np.asarray(splits, dtype=np.str_)
        self.cluster = None if clusters is None else np.asarray(clusters)
        if self.cluster is not None and self.cluster.dtype.kind == "M":
            self.cluster = None if np.isnat(self.cluster).all() else self.cluster

    def has(self, split: str) -> bool:
        return bool((self.split == split).any())

    def of(self, split: str, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(prediction[self.split == split])

    def clusters_of(self, split: str) -> ArrayLike | None:
        return None if self.cluster is None else self.cluster[self.split == split]

    def result(self, name: str, said: NDArray[np.float64], cost: Cost | None) -> ModelResult:
        measured = {
            split: tuple(
                interval(
                    metric,
                    self.of(split, said),
                    self.of(split, self.label),
                    self.clusters_of(split),
                    draws=self.draws,
                )
                for metric in metrics_of(self.task)
            )
            for split in ("validation", "test")
        }
        return ModelResult(name=name, cost=cost or Cost(), **measured)

    def comparison(
        self, model: NDArray[np.float64], name: str, said: NDArray[np.float64]
    ) -> Comparison:
        difference = paired_difference(
            self.metric,
            self.of("test", model),
            self.of("test", said),
            self.of("test", self.label),
            self.clusters_of("test"),
            draws=self.draws,
        )
        return Comparison(baseline=name, difference=difference)

    def facts(self, split: str) -> SplitFacts:
        label, clusters = self.of(split, self.label), self.clusters_of(split)
        known = np.arange(len(label)) if clusters is None else np.unique(np.asarray(clusters))
        dated = len(known) > 0 and known.dtype.kind == "M"
        return SplitFacts(
            split=split,
            rows=len(label),
            clusters=len(known),
            first=str(known.min().astype("datetime64[D]")) if dated else None,
            last=str(known.max().astype("datetime64[D]")) if dated else None,
            label_mean=float(label.mean()) if len(label) else float("nan"),
        )

    def held_to_account(self, said: NDArray[np.float64]) -> dict[str, Any]:
        """Whether what is said happens as often as said: by the kind of task."""
        none: dict[str, Any] = {"calibration": None, "residuals": None}
        if not (self.has("validation") and self.has("test")):
            return none
        match self.task.kind:
            case TaskKind.BINARY | TaskKind.MULTICLASS:
                return none | {"calibration": self.calibration(said)}
            case TaskKind.REGRESSION:
                return none | {"residuals": self.residuals(said)}
            case TaskKind.QUANTILE:
                return none | {"coverage": self.coverage(said)}
            case _ as unreachable:
                assert_never(unreachable)

    def coverage(self, said: NDArray[np.float64]) -> Coverage:
        levels = self.task.quantiles
        held_out = (self.of("validation", said), self.of("validation", self.label))
        correction = LevelShifts.fit(*held_out, levels)
        before, label = self.of("test", said), self.of("test", self.label)
        after = correction.apply(before)
        below, corrected = (shares_below(quantiles, label) for quantiles in (before, after))
        widths = [float((q[:, -1] - q[:, 0]).mean()) for q in (before, after)]
        several = len(levels) > 1
        return Coverage(
            levels=tuple(
                LevelShare(level=level, below=share, corrected_below=shifted)
                for level, share, shifted in zip(levels, below, corrected, strict=True)
            ),
            correction=correction,
            promised=promised_share(np.array(levels)),
            held=float(is_held(before, label).mean()),
            corrected_held=float(is_held(after, label).mean()),
            width=widths[0] if several else None,
            corrected_width=widths[1] if several else None,
        )

    def calibration(self, said: NDArray[np.float64]) -> Calibration:
        fitting = Platt if self.task.kind is TaskKind.BINARY else Temperature
        correction = fitting.fit(self.of("validation", said), self.of("validation", self.label))
        before, label = self.of("test", said), self.of("test", self.label)
        after = correction.apply(before)
        return Calibration(
            bins=tuple(reliability(before, label)),
            corrected_bins=tuple(reliability(after, label)),
            correction=correction,
            ece=ece(before, label),
            corrected_ece=ece(after, label),
        )

    def pictures(self, said: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
        """What is drawn of test predictions: by the kind of task, of our model and the best."""
        test, label = (
            {name: self.of("test", p) for name, p in said.items()},
            self.of("test", self.label),
        )
        match self.task.kind:
            case TaskKind.BINARY:
                return {"ranking": ranking(test, label)}
            case TaskKind.MULTICLASS:
                return {"confusion": confusion(test[MODEL], label, self.task.classes)}
            case TaskKind.QUANTILE:
                return {"spread": spread(test[MODEL][:, self.task.middle], label)}
            case TaskKind.REGRESSION:
                return {"spread": spread(test[MODEL], label)}
            case _ as unreachable:
                assert_never(unreachable)

    def slices(
        self, said: NDArray[np.float64], segments: Mapping[str, NDArray[np.str_]]
    ) -> tuple[Slice, ...]:
        """Test samples by each segment's values."""
        test = self.split == "test"
        cluster = None if self.cluster is None else self.cluster[test]
        apart = {name: values[test] for name, values in segments.items()}
        return slices(self.metric, said[test], self.label[test], cluster, apart)

    def residuals(self, said: NDArray[np.float64]) -> Residuals:
        table = ResidualTable.fit(self.of("validation", said), self.of("validation", self.label))
        test, label = self.of("test", said), self.of("test", self.label)
        quantiles = table.apply(test)
        inside = (label >= quantiles[:, 0]) & (label <= quantiles[:, -1])
        some = np.unique(np.linspace(0, len(test) - 1, _MOST_POINTS).astype(np.intp))
        return Residuals(
            table=table,
            promised=table.levels[-1] - table.levels[0],
            coverage=float(inside.mean()),
            points=tuple((float(test[row]), float(label[row])) for row in some),
        )
