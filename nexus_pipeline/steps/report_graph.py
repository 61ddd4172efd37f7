"""Pictures of tables: the schema as boxes and keys, and who reads whom as arrows."""

import math
from collections.abc import Sequence
from html import escape

from nexus_pipeline.steps.report_facts import DataCard
from nexus_pipeline.steps.report_svg import Board, Point

BOX: Point = (168.0, 46.0)
GAP: Point = (92.0, 18.0)
FLOW, RADIUS = (500.0, 340.0), 125.0
FAINT = 0.02
LONGEST = 20


def plot_schema(card: DataCard) -> str:
    """Every table with its rows, in columns by keys away; arrows point at parents."""
    columns = _columns(card)
    tallest = max(len(column) for column in columns)
    width = len(columns) * (BOX[0] + GAP[0]) - GAP[0] + 24
    height = tallest * (BOX[1] + GAP[1]) - GAP[1] + 24
    size = (max(width, 420.0), height)
    board = Board(f"schema: {len(card.tables)} tables", size, (0, 1), (0, 1), (0, 0, 0, 0))
    places = _places(columns, size)
    for link in card.links:
        told = f"{link.child}.{link.columns} names a row of {link.parent}"
        board.add(_link(places[link.child], places[link.parent], told))
    for table in card.tables:
        x, y = places[table.table]
        kind = "box asked" if table.table == card.entity else "box"
        board.add(
            f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{BOX[0]}" height="{BOX[1]}" '
            f'rx="8"><title>{escape(table.table)}: {table.rows:,} rows</title></rect>'
        )
        board.text((x + BOX[0] / 2, y + 20), _short(table.table), "name mid")
        board.text((x + BOX[0] / 2, y + 36), f"{table.rows:,} rows", "tick mid")
    return board.svg(natural=True)


def _columns(card: DataCard) -> list[list[str]]:
    """Tables by their distance from the one asked about; those out of reach come last."""
    beside: dict[str, set[str]] = {table.table: set() for table in card.tables}
    for link in card.links:
        beside[link.child].add(link.parent)
        beside[link.parent].add(link.child)
    columns, left = [[card.entity]], {name for name in beside if name != card.entity}
    while left:
        near = set().union(*(beside[name] for name in columns[-1])) & left
        columns.append([name for name in beside if name in (near or left)])
        left -= set(columns[-1])
    return columns


def _places(columns: Sequence[Sequence[str]], size: Point) -> dict[str, Point]:
    places = {}
    for at, column in enumerate(columns):
        tall = len(column) * (BOX[1] + GAP[1]) - GAP[1]
        for place, name in enumerate(column):
            y = (size[1] - tall) / 2 + place * (BOX[1] + GAP[1])
            places[name] = 12 + at * (BOX[0] + GAP[0]), y
    return places


def _link(child: Point, parent: Point, told: str) -> str:
    (x1, y1), (x2, y2), half = child, parent, BOX[1] / 2
    if x1 == x2:
        # In the same column the arrow goes around at the right; also to the table itself.
        out = x1 + BOX[0]
        low, high = y1 + half + 6, y2 + half - 6
        path = f"M{out},{low:.1f} C{out + 52},{low:.1f} {out + 52},{high:.1f} {out},{high:.1f}"
    else:
        start, end = (x1 + BOX[0], x2) if x1 < x2 else (x1, x2 + BOX[0])
        bend = (start + end) / 2
        a, b = y1 + half, y2 + half
        path = f"M{start},{a:.1f} C{bend},{a:.1f} {bend},{b:.1f} {end},{b:.1f}"
    title = f"<title>{escape(told)}</title>"
    # The head points the way the line comes in.
    tip_x, tip_y = (x1 + BOX[0], y2 + half - 6) if x1 == x2 else (end, y2 + half)
    back = -9 if x1 < x2 else 9
    head = f"{tip_x},{tip_y:.1f} {tip_x + back},{tip_y - 5:.1f} {tip_x + back},{tip_y + 5:.1f}"
    return f'<path class="link" d="{path}">{title}</path><polygon class="head" points="{head}"/>'


def plot_flow(
    tables: Sequence[str], weights: Sequence[Sequence[float]], number: int, size: Point = FLOW
) -> str:
    """Tables in a circle; a wedge from what is read to its reader, as wide as the share."""
    board = Board(f"attention between tables, cycle {number}", size, (0, 1), (0, 1))
    places = [_around(at, len(tables), size) for at in range(len(tables))]
    for reader, row in enumerate(weights):
        for read, share in enumerate(row):
            if share >= FAINT and read != reader:
                told = f"{tables[reader]} reads {tables[read]}: {share:.1%}"
                board.add(_arrow(places[read], places[reader], share, told))
    for (x, y), name in zip(places, tables, strict=True):
        title = f"<title>{escape(name)}</title>"
        board.add(f'<circle class="node" cx="{x:.1f}" cy="{y:.1f}" r="8">{title}</circle>')
        # Names stand outside the circle, where no wedge passes.
        across, down = (x - size[0] / 2) / RADIUS, (y - size[1] / 2) / RADIUS
        kind = "mid" if abs(across) < 0.2 else "end" if across < 0 else ""
        at = x + 14 * across, y + 20 * down + 4
        board.text(at, _short(name), f"small {kind}")
    return board.svg()


def _around(at: int, count: int, size: Point) -> Point:
    angle = 2 * math.pi * at / count - math.pi / 2
    return size[0] / 2 + RADIUS * math.cos(angle), size[1] / 2 + RADIUS * math.sin(angle)


def _arrow(start: Point, end: Point, share: float, told: str) -> str:
    """A wedge, wide at the reader: its direction needs no marker."""
    (x1, y1), (x2, y2) = start, end
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    dx, dy, wide = (x2 - x1) / length, (y2 - y1) / length, 1.0 + 9.0 * share
    ax, ay = x1 + 12 * dx - 5 * dy, y1 + 12 * dy + 5 * dx
    bx, by = x2 - 12 * dx - 5 * dy, y2 - 12 * dy + 5 * dx
    corners = f"{ax:.1f},{ay:.1f} {bx - wide * dy:.1f},{by + wide * dx:.1f} " + (
        f"{bx + 0.3 * wide * dy:.1f},{by - 0.3 * wide * dx:.1f}"
    )
    return f'<polygon class="bar" points="{corners}"><title>{escape(told)}</title></polygon>'


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
