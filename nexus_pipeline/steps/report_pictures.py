"""Drawings of rankings, residuals, importance and slices for the report."""

import math
from collections.abc import Sequence

from nexus_model.explain.importance import Importance
from nexus_pipeline.steps.report_facts import Line, Ranking, Slice, Spread
from nexus_pipeline.steps.report_record import MODEL
from nexus_pipeline.steps.report_svg import Board, Point, padded

SQUARE: Point = (400.0, 330.0)
MARGINS = (30, 14, 46, 54)
ROW = 34.0


def plot_ranking(ranking: Ranking) -> tuple[str, str, str]:
    """ROC, precision by recall, lift by the share of samples taken."""
    rate, top = ranking.base_rate, max(max(y for _, y in line.points) for line in ranking.lift)
    return (
        _curves("ROC", ranking.roc, (0, 1), ("said yes wrongly", "found"), (0, 0, 1, 1)),
        _curves(
            "precision by recall", ranking.precision, (0, 1), ("found", "right of those taken"),
            (0, rate, 1, rate),
        ),
        _curves("lift", ranking.lift, (0, 1.05 * top), ("share taken", "times the base rate"),
                (0, 1, 1, 1)),
    )  # fmt: skip


def _curves(
    title: str,
    lines: Sequence[Line],
    y: Point,
    axes: tuple[str, str],
    chance: tuple[float, float, float, float],
) -> str:
    board = Board(title, SQUARE, (0, 1), y, MARGINS)
    board.x_axis(axes[0])
    board.y_axis(axes[1])
    board.line(chance[:2], chance[2:], "ideal")
    for line in reversed(lines):
        board.path(line.points, "curve model" if line.name == MODEL else "curve best")
    return board.svg()


def plot_spread(spread: Spread) -> str:
    """A histogram of residuals with zero marked."""
    x = spread.edges[0], spread.edges[-1]
    board = Board("residuals on test", (480, 320), x, (0, 1.05 * max(spread.counts)), MARGINS)
    board.x_axis("label less prediction")
    board.y_axis("test samples")
    for left, right, count in zip(spread.edges, spread.edges[1:], spread.counts, strict=False):
        corners = [(left, 0), (left, count), (right, count), (right, 0)]
        board.path(corners, "band")
        board.path(corners, "curve faint")
    if x[0] < 0 < x[1]:
        board.line((0, 0), (0, 1.05 * max(spread.counts)), "zero")
    return board.svg()


def plot_importance(found: Importance) -> str:
    """A bar per table with its interval."""
    values = [value for row in found.tables for value in (row.low, row.high, row.shapley, 0.0)]
    height = ROW * len(found.tables) + 60
    board = Board(
        "importance of tables", (960, height), padded(values), (len(found.tables) - 0.5, -0.5),
        (8, 24, 46, 190),
    )  # fmt: skip
    board.x_axis(f"share of the loss it saves, {found.unit}; lines are 95 % intervals")
    for place, row in enumerate(found.tables):
        board.text((178, board.at_y(place) + 4), row.table, "name end")
        left, right = sorted((board.at_x(0), board.at_x(row.shapley)))
        top = board.at_y(place) - 9
        told = f"{row.table}: {row.shapley:.4g} [{row.low:.4g}, {row.high:.4g}]"
        board.add(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            'height="18" rx="3"/>'
        )
        if math.isfinite(row.low):
            board.line((row.low, place), (row.high, place), "whisker sure")
        board.dot((row.shapley, place), "mark model", 4, told)
    board.line((0, -0.5), (0, len(found.tables) - 0.5), "zero")
    return board.svg()


def plot_slices(slices: Sequence[Slice], whole: float, metric: str) -> str:
    """The metric of each slice with its interval; the line is that of all test samples."""
    values = [v for one in slices for v in (one.found.low, one.found.high, one.found.estimate)]
    board = Board(
        f"{metric} by slice", (960, ROW * len(slices) + 60), padded([*values, whole]),
        (len(slices) - 0.5, -0.5), (8, 24, 46, 300),
    )  # fmt: skip
    board.x_axis(f"test {metric}; lines are 95 % intervals, dashed is everybody")
    board.line((whole, -0.5), (whole, len(slices) - 0.5), "ideal")
    for place, one in enumerate(slices):
        found, name = one.found, f"{one.name}: {one.value} ({one.found.rows:,})"
        board.text((288, board.at_y(place) + 4), name, "name end")
        if math.isfinite(found.low):
            board.line((found.low, place), (found.high, place), "whisker model")
        if math.isfinite(found.estimate):
            told = f"{name}: {found.estimate:.4g} [{found.low:.4g}, {found.high:.4g}]"
            board.dot((found.estimate, place), "mark model", 5, told)
    return board.svg()
