"""A small drawing board: scales, axes and marks as SVG text, styled by the page that shows it."""

import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within ``[low, high]``, at most ``most``.

    >>> nice_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]
    rough = span / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + k) * step, 12) for k in range(count)]


def padded(values: Sequence[float], share: float = 0.06) -> Point:
    """The range of the finite values with some room at both ends."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = (high - low) * share or abs(low) * share or 1.0
    return low - room, high + room


class Board:
    """A drawing with a plotting area, whose x and y are in the units of what is plotted."""

    def __init__(
        self,
        title: str,
        size: Point,
        x: Point,
        y: Point,
        margins: tuple[float, float, float, float] = (14, 16, 40, 52),
    ) -> None:
        self.title, (self.width, self.height) = title, size
        self.top, self.right, self.bottom, self.left = margins
        self._x, self._y, self._marks = x, y, list[str]()

    def at_x(self, value: float) -> float:
        """Pixels from the left."""
        low, high = self._x
        share = (value - low) / ((high - low) or 1)
        return self.left + share * (self.width - self.left - self.right)

    def at_y(self, value: float) -> float:
        """Pixels from the top."""
        low, high = self._y
        share = (value - low) / ((high - low) or 1)
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)

    def add(self, mark: str) -> None:
        """Any SVG."""
        self._marks.append(mark)

    def text(self, at: Point, content: str, kind: str = "tick") -> None:
        """Words at a place given in pixels; ``kind`` is a class of the style sheet."""
        x, y = at
        self.add(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>')

    def line(self, start: Point, end: Point, kind: str = "grid") -> None:
        """A straight line in plotted units."""
        (x1, y1), (x2, y2) = start, end
        self.add(
            f'<line class="{kind}" x1="{self.at_x(x1):.1f}" y1="{self.at_y(y1):.1f}" '
            f'x2="{self.at_x(x2):.1f}" y2="{self.at_y(y2):.1f}"/>'
        )

    def path(self, points: Sequence[Point], kind: str) -> None:
        """Line segments in plotted units."""
        placed = " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in points)
        self.add(f'<polyline class="{kind}" points="{placed}"/>')

    def dot(self, at: Point, kind: str, radius: float = 4, told: str = "") -> None:
        """A circle in plotted units; ``told`` is shown when pointed at."""
        x, y = self.at_x(at[0]), self.at_y(at[1])
        inside = f"<title>{escape(told)}</title>" if told else ""
        self.add(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">{inside}</circle>'
        )

    def x_axis(self, label: str, ticks: Sequence[float] | None = None) -> None:
        """Vertical grid lines with their values below, and what they are."""
        for value in nice_ticks(*self._x) if ticks is None else ticks:
            self.line((value, self._y[0]), (value, self._y[1]))
            below = self.height - self.bottom + 16
            self.text((self.at_x(value), below), f"{value:.6g}", "tick mid")
        middle = (self.left + self.width - self.right) / 2
        self.text((middle, self.height - 6), label, "axis mid")

    def y_axis(self, label: str, ticks: Sequence[float] | None = None) -> None:
        """Horizontal grid lines with their values to the left, and what they are above."""
        for value in nice_ticks(*self._y, 5) if ticks is None else ticks:
            self.line((self._x[0], value), (self._x[1], value))
            self.text((self.left - 8, self.at_y(value) + 4), f"{value:.6g}", "tick end")
        self.text((4, self.top - 12 if self.top > 22 else 11), label, "axis")

    def svg(self, *, natural: bool = False) -> str:
        """The drawing, as wide as the place it is put in, or no wider than it was drawn."""
        title = escape(self.title)
        widest = f' style="max-width: {self.width:g}px"' if natural else ""
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" role="img" aria-label="{title}"'
            f"{widest}>"
            f"<title>{title}</title>{''.join(self._marks)}</svg>"
        )
