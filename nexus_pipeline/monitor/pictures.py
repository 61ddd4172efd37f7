"""Distributions side by side, drawn as the evaluation report draws."""

from html import escape

from nexus_pipeline.monitor.distances import MISSING, OTHERS
from nexus_pipeline.monitor.record import Distribution
from nexus_pipeline.steps.report_svg import Board, Point

SIZE: Point = (480.0, 300.0)
MOST = 12
COLOURS = """svg .bar.then { fill: var(--other); fill-opacity: 0.85; }
.legend b.then { color: var(--soft); }"""


def plot_beside(name: str, found: Distribution) -> str:
    """Share of rows by bin: the reference grey, now blue; words when a bar is pointed at."""
    bins = _shown(found)
    top = max((max(then, now) for _, then, now in bins), default=0.0) or 1.0
    board = Board(f"{name}: share of rows", SIZE, (0, len(bins)), (0, 1.08 * top), (26, 10, 64, 46))
    board.y_axis("share of rows")
    for place, (label, then, now) in enumerate(bins):
        for side, (share, kind) in enumerate(((then, "bar then"), (now, "bar"))):
            left = board.at_x(place + 0.12 + 0.38 * side)
            width = board.at_x(place + 0.5 + 0.38 * side) - left - 1
            high, low = board.at_y(share), board.at_y(0)
            told = escape(f"{label}: {share:.1%} {'then' if side == 0 else 'now'}")
            board.add(
                f'<rect class="{kind}" x="{left:.1f}" y="{high:.1f}" width="{width:.1f}" '
                f'height="{low - high:.1f}"><title>{told}</title></rect>'
            )
        x, y = board.at_x(place + 0.5), board.at_y(0) + 12
        word = escape(label if len(label) < 15 else f"{label[:13]}..")
        board.add(
            f'<text class="tick end" transform="translate({x:.1f},{y:.1f}) rotate(-30)">'
            f"{word}</text>"
        )
    return board.svg()


def _shown(found: Distribution) -> list[tuple[str, float, float]]:
    """Names and shares of the bins that hold rows, the largest few of them, as they stand."""
    sums = max(1, sum(found.reference)), max(1, sum(found.current))
    bins = [
        (name, then / sums[0], now / sums[1])
        for name, then, now in zip(found.names, found.reference, found.current, strict=True)
        if then or now
    ]
    if len(bins) <= MOST:
        return bins
    always = {MISSING, OTHERS}
    ranked = sorted(bins, key=lambda one: (one[0] not in always, -max(one[1:])))
    kept = {one[0] for one in ranked[:MOST]}
    return [one for one in bins if one[0] in kept]
