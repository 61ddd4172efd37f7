"""Rankings, confusions, residuals and slices of test predictions, as the report draws them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nexus_model.evaluate.bootstrap import interval
from nexus_model.evaluate.metrics import Metric, measure
from nexus_pipeline.steps.report_facts import Confusion, Line, Ranking, Slice, Spread

Array = NDArray[np.float64]
MOST_POINTS, FEWEST_ROWS, MOST_SLICES, BINS, DRAWS = 120, 20, 14, 25, 300
FEWEST_JUDGED, MOST_JUDGED = 100, 40


def ranking(said: Mapping[str, Array], label: Array) -> Ranking | None:
    """Curves of every predictor; None if only one label occurs.

    >>> found = ranking({"m": np.array([0.9, 0.1])}, np.array([1.0, 0.0]))
    >>> found.roc[0].points
    ((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))
    """
    if len(label) == 0 or label.min() == label.max():
        return None
    curves: dict[str, list[Line]] = {"roc": [], "precision": [], "lift": []}
    for name, prediction in said.items():
        order = np.argsort(-prediction, kind="stable")
        # Samples with equal predictions are taken together.
        last = np.flatnonzero(np.append(np.diff(prediction[order]) != 0, True))
        taken = last + 1.0
        right = np.cumsum(label[order])[last]
        recall, share = right / label.sum(), taken / len(label)
        wrong = (taken - right) / (len(label) - label.sum())
        curves["roc"].append(_line(name, np.append(0, wrong), np.append(0, recall)))
        curves["precision"].append(_line(name, recall, right / taken))
        curves["lift"].append(_line(name, share, right / taken / label.mean()))
    return Ranking(
        roc=tuple(curves["roc"]),
        precision=tuple(curves["precision"]),
        lift=tuple(curves["lift"]),
        base_rate=float(label.mean()),
    )


def _line(name: str, x: Array, y: Array) -> Line:
    some = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).astype(np.intp))
    points = zip(np.round(x[some], 5).tolist(), np.round(y[some], 5).tolist(), strict=True)
    return Line(name=name, points=tuple(points))


def confusion(said: Array, label: Array, classes: Sequence[str]) -> Confusion:
    """Counts of the likeliest class by the true one."""
    count = len(classes)
    flat = label.astype(np.intp) * count + said.argmax(axis=1)
    counts = np.bincount(flat, minlength=count * count).reshape(count, count)
    return Confusion(classes=tuple(classes), counts=tuple(map(tuple, counts.tolist())))


def spread(said: Array, label: Array) -> Spread | None:
    """Residuals in bins that leave out the last hundredth at either end."""
    residual = label - said
    if not len(residual):
        return None
    low, high = np.quantile(residual, [0.01, 0.99])
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts, _ = np.histogram(residual, edges)
    return Spread(
        edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), mean=float(residual.mean())
    )


def slices(
    metric: Metric | str,
    said: Array,
    label: Array,
    clusters: NDArray[np.generic] | None,
    segments: Mapping[str, NDArray[np.str_]],
) -> tuple[Slice, ...]:
    """The metric on every value of every segment that has at least 20 samples."""
    found: list[Slice] = []
    for name, of_row in segments.items():
        for value in np.unique(of_row):
            inside = of_row == value
            if inside.sum() >= FEWEST_ROWS and len(found) < MOST_SLICES:
                of = None if clusters is None else clusters[inside]
                measured = interval(metric, said[inside], label[inside], of, draws=DRAWS)
                mean = float(label[inside].mean())
                found.append(Slice(name=name, value=str(value), found=measured, label_mean=mean))
    return tuple(found)


def slice_scores(
    metric: Metric | str,
    said: Array,
    label: Array,
    segments: Mapping[str, NDArray[np.str_]],
    within_B: NDArray[np.intp],
) -> dict[str, float]:
    """The metric of some samples by ``segment = value``, where there are enough of them and it is
    defined.
    """
    found: dict[str, float] = {}
    for name, of_row in segments.items():
        for value in np.unique(of_row[within_B]):
            inside_B = within_B[of_row[within_B] == value]
            if len(inside_B) < FEWEST_JUDGED or len(found) >= MOST_JUDGED:
                continue
            score = measure(metric, said[inside_B], label[inside_B])
            if np.isfinite(score):
                found[f"{name} = {value}"] = score
    return found
