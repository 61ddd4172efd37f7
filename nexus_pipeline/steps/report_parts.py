"""The pieces a report page is put together from: numbers, sections, tables."""

import math
from collections.abc import Iterable, Sequence

from nexus_model.evaluate.bootstrap import Interval, PairedDifference


def number(value: float, scale: float | None = None, digits: int = 4) -> str:
    """A number as shown, with a true minus; a dash where it is not defined.

    ``scale`` is the size that the digits are counted from: the number itself if it is not given.

    >>> number(-0.12345), number(0.00001, scale=0.5)
    ('&minus;0.1235', '0.0000')
    """
    size = abs(value) if scale is None else scale
    if not math.isfinite(value) or not math.isfinite(size):
        return "&ndash;"
    decimals = digits if size == 0 else digits - 1 - math.floor(math.log10(size))
    shown = f"{value:,.{min(max(decimals, 0), 12)}f}"
    return shown.replace("-", "&minus;" if shown.strip("-0.,") else "")


def brief(value: float) -> str:
    """A number with three digits."""
    return number(value, digits=3)


def section(title: str, why: str, *content: str) -> str:
    """A titled part of the page."""
    return f'<section><h2>{title}</h2><p class="why">{why}</p>{"".join(content)}</section>'


def pair(sections: Iterable[str]) -> str:
    """Sections side by side where there is room."""
    shown = "".join(sections)
    return f'<div class="pair">{shown}</div>' if shown else ""


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Rows of cells, each row with a kind; wide ones can be scrolled, with the keyboard too."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr class="{kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for kind, cells in rows
    )
    whole = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return scrolled(whole, "table")


def with_interval(found: Interval | PairedDifference, digits: int = 4) -> str:
    """An estimate and, smaller, its interval."""
    values = (found.estimate, found.low, found.high)
    scale = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    estimate, low, high = (number(value, scale, digits) for value in values)
    if not math.isfinite(found.low):
        return estimate
    return f"{estimate} <small>[{low}, {high}]</small>"


def scrolled(content: str, name: str) -> str:
    """Wide content in a frame of its own that the keyboard reaches."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{content}</div>'


def share(value: float) -> str:
    """Whole percent."""
    return f"{value:.0%}" if math.isfinite(value) else "&ndash;"
