"""The drawings of the evaluation report, each from the numbers of the record alone."""

import math
from html import escape
from itertools import pairwise

from nexus_pipeline.steps.report_record import (
    MODEL,
    Attention,
    Calibration,
    Coverage,
    CurvePoint,
    EvaluationReport,
    Residuals,
)
from nexus_pipeline.steps.report_svg import Board, padded

METRIC_NAMES = {
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "ece": "ECE",
    "pinball": "pinball loss",
    "coverage_error": "coverage error",
    "interval_width": "interval width",
}

_HALF = (480.0, 320.0)
_LONGEST_NAME = 28


def plot_scores(evaluation: EvaluationReport) -> str:
    """Every model's test metric with its interval, the best baseline marked."""
    models, row = evaluation.models, 34.0
    values = [
        value
        for model in models
        for value in (model.test[0].estimate, model.test[0].low, model.test[0].high)
    ]
    height = row * len(models) + 60
    board = Board(
        f"{evaluation.metric} on test",
        (960, height),
        padded(values),
        (len(models) - 0.5, -0.5),
        (8, 24, 46, 190),
    )
    better = "lower" if evaluation.direction == "min" else "higher"
    board.x_axis(
        f"test {METRIC_NAMES[evaluation.metric]}, {better} is better; bars are 95 % intervals"
    )
    for place, model in enumerate(models):
        found = model.test[0]
        kind = "model" if model.name == MODEL else "baseline"
        kind = "best" if model.name == evaluation.best_baseline else kind
        board.text((178, board.at_y(place) + 4), model.name, f"name end {kind}")
        if math.isfinite(found.low):
            board.line((found.low, place), (found.high, place), f"whisker {kind}")
        if math.isfinite(found.estimate):
            told = f"{model.name}: {found.estimate:.4g} [{found.low:.4g}, {found.high:.4g}]"
            board.dot((found.estimate, place), f"mark {kind}", 5.5, told)
    return board.svg()


def plot_curve(curve: tuple[CurvePoint, ...], metric: str) -> str:
    """Training loss and validation score by epoch, each on its own half."""
    epochs = [float(point.epoch) for point in curve]
    last = max(epochs[-1], epochs[0] + 1)
    ticks = sorted({round(epochs[0] + k * (last - epochs[0]) / 5) for k in range(6)})
    parts = []
    for name, kind, values in (
        ("training loss", "loss", [point.loss for point in curve]),
        (f"validation {metric}", "score", [point.score for point in curve]),
    ):
        board = Board(name, (480, 168), (epochs[0], last), padded(values), (30, 16, 38, 56))
        board.x_axis("epoch", ticks)
        board.y_axis(name)
        board.path(list(zip(epochs, values, strict=True)), f"curve {kind}")
        for point, value in zip(curve, values, strict=True):
            if point.best and kind == "score":
                board.dot(
                    (point.epoch, value), "mark faint", 3, f"epoch {point.epoch}: {value:.4g}"
                )
        chosen = [point for point in curve if point.best]
        if chosen and kind == "score":
            found = chosen[-1]
            told = f"kept: epoch {found.epoch}, {found.score:.4g}"
            board.dot((found.epoch, found.score), "mark model", 5, told)
        parts.append(board.svg())
    return "".join(parts)


def plot_calibration(calibration: Calibration) -> str:
    """Frequency by said probability; dots grow with their rows."""
    board = Board("calibration on test", _HALF, (0, 1), (0, 1), (30, 16, 42, 48))
    board.x_axis("said probability")
    board.y_axis("happened")
    board.line((0, 0), (1, 1), "ideal")
    most = max(b.rows for b in calibration.bins)
    for kind, bins in (("faint", calibration.corrected_bins), ("model", calibration.bins)):
        board.path([(b.said, b.happened) for b in bins], f"curve {kind}")
        for b in bins:
            radius = 2.5 + 5 * math.sqrt(b.rows / most)
            told = f"{b.rows} rows: said {b.said:.3f}, happened {b.happened:.3f}"
            board.dot((b.said, b.happened), f"mark {kind}", min(radius, 7.5), told)
    return board.svg()


def plot_coverage(coverage: Coverage) -> str:
    """Share of test labels at or below each quantile, by its level."""
    board = Board("coverage on test", _HALF, (0, 1), (0, 1), (30, 16, 42, 48))
    board.x_axis("level")
    board.y_axis("labels below")
    board.line((0, 0), (1, 1), "ideal")
    corrected = [(one.level, one.corrected_below) for one in coverage.levels]
    plain = [(one.level, one.below) for one in coverage.levels]
    for kind, points in (("faint", corrected), ("model", plain)):
        board.path(points, f"curve {kind}")
        for level, below in points:
            board.dot((level, below), f"mark {kind}", 4, f"{level:g}: {below:.1%} of labels below")
    return board.svg()


def plot_residuals(residuals: Residuals) -> str:
    """Actual by predicted, with the band that validation residuals promise."""
    table = residuals.table
    said = [point[0] for point in residuals.points]
    x = padded(said)
    y = padded([value for point in residuals.points for value in point])
    board = Board("actual by predicted on test", _HALF, x, y, (30, 16, 42, 52))
    board.x_axis("predicted")
    board.y_axis("actual")
    edges = [x[0], *(edge for edge in table.edges if x[0] < edge < x[1]), x[1]]
    skipped = sum(edge <= x[0] for edge in table.edges)
    for place, (left, right) in enumerate(pairwise(edges)):
        quantiles = table.quantiles[min(place + skipped, len(table.quantiles) - 1)]
        corners = [
            (left, left + quantiles[0]),
            (right, right + quantiles[0]),
            (right, right + quantiles[-1]),
            (left, left + quantiles[-1]),
        ]
        board.path([(px, min(max(py, y[0]), y[1])) for px, py in corners], "band")
    low, high = max(x[0], y[0]), min(x[1], y[1])
    board.line((low, low), (high, high), "ideal")
    for point in residuals.points:
        board.dot(point, "point", 2.4)
    return board.svg()


def plot_attention(attention: Attention) -> str:
    """Who read whom: a row per reading table, darker where more was read."""
    names, count = [_shortened(name) for name in attention.tables], len(attention.tables)
    longest, row_height = max(map(len, names)), 34.0
    left, top = 20 + 7.0 * longest, 24 + 4.4 * longest
    right = 12 + 5.4 * len(names[-1])
    cell = min(96.0, max(34.0, (1000 - left - right) / count))
    size = (left + cell * count + right, top + row_height * count + 4)
    board = Board("attention between tables", size, (0, 1), (0, 1), (0, 0, 0, 0))
    strongest = max((max(row) for row in attention.weights), default=0) or 1
    for column, name in enumerate(names):
        x = left + cell * (column + 0.5)
        board.add(f'<g transform="translate({x:.1f} {top - 10:.1f}) rotate(-38)">')
        board.text((0, 0), name, "name")
        board.add("</g>")
    for row, weights in enumerate(attention.weights):
        y = top + row_height * row
        board.text((left - 10, y + 21), names[row], "name end")
        for column, weight in enumerate(weights):
            told = f"{attention.tables[row]} reads {attention.tables[column]}: {weight:.1%}"
            _cell(board, (left + cell * column, y), cell, (weight, weight / strongest), told)
    return board.svg()


def _shortened(name: str) -> str:
    """A long path keeps its end, which names the table that is read."""
    return name if len(name) <= _LONGEST_NAME else "..." + name[3 - _LONGEST_NAME :]


def _cell(
    board: Board, at: tuple[float, float], width: float, shown: tuple[float, float], told: str
) -> None:
    (x, y), (weight, strength) = at, shown
    board.add(
        f'<rect class="heat" x="{x + 1:.1f}" y="{y + 1:.1f}" width="{width - 2:.1f}" height="32" '
        f'rx="4" fill-opacity="{0.04 + 0.5 * strength:.3f}"><title>{escape(told)}</title></rect>'
    )
    if weight >= 0.005:
        board.text((x + width / 2, y + 21), f"{100 * weight:.0f}", "mid shown")
