"""One page that shows who listens to whom: tables in a circle, an arrow per share, one per pass.

The page is a single file: no script, no font and no style comes from elsewhere. Arrows and tables
can be pointed at or reached with the Tab key; what is chosen is told in words.
"""

import math
from html import escape

from nexus_model.api.attention_summary import TableFlow, summarized
from nexus_model.explain.importance import Importance

SIDE, CIRCLE, DOT = 380, 125, 9
FAINT = 0.01
NOT_THE_SAME = (
    "Attention is where the model looked, not what the answer depended on: the two are not the same"
)

_STYLE = """
:root { --ink: #18212b; --soft: #4d5a67; --line: #d5dce4; --model: #2557d6; --chosen: #a3470b }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 2rem; max-width: 1080px;
  color: var(--ink); background: #fff }
figure { display: inline-block; margin: 0 1.5rem 1.5rem 0; max-width: 100% }
figcaption { text-align: center; color: var(--soft) }
svg { overflow: visible; max-width: 100% }
line { stroke: var(--model); cursor: pointer } circle { fill: var(--ink); cursor: pointer }
line:hover, line:focus { stroke: var(--chosen); stroke-opacity: 1 }
circle:hover, circle:focus { fill: var(--chosen) }
line:focus, circle:focus { outline: 2px solid var(--chosen); outline-offset: 2px }
.quiet { stroke-opacity: 0.08 }
text { font-size: 12px; text-anchor: middle; fill: var(--ink) }
output { display: block; min-height: 1.6em; font-weight: 600; color: var(--chosen) }
table { border-collapse: collapse; margin: 0 2rem 1rem 0 } caption { text-align: left }
th, td { border-bottom: 1px solid var(--line); padding: 4px 10px; text-align: right }
th:first-child { text-align: left } thead th { color: var(--soft); font-weight: 500 }
"""

# Without it the page still tells every share: in the titles of the arrows and in the tables.
_SCRIPT = """
const told = document.querySelector("output"), edges = [...document.querySelectorAll("line")];
const say = mark => { told.textContent = mark.querySelector("title").textContent };
const show = node => { say(node); edges.forEach(edge => edge.classList.toggle("quiet",
  edge.dataset.reader !== node.dataset.table && edge.dataset.read !== node.dataset.table)) };
const all = () => edges.forEach(edge => edge.classList.remove("quiet"));
for (const kind of ["pointerenter", "focus"]) {
  edges.forEach(edge => edge.addEventListener(kind, () => { all(); say(edge) }));
  document.querySelectorAll("circle").forEach(n => n.addEventListener(kind, () => show(n))); }
document.querySelectorAll("circle").forEach(n => ["pointerleave", "blur"].forEach(
  kind => n.addEventListener(kind, all)));
document.addEventListener("keydown", key => { if (key.key === "Escape") all() });
"""


def flow_page(flow: TableFlow, title: str, importance: Importance | None = None) -> str:
    """The page as HTML; importance, where it was measured, stands beside the attention."""
    found = summarized(flow)
    top = found["top_broadcaster"]
    told = f"Read most by others: <b>{escape(top)}</b>." if top else "Tables do not read others."
    figures = "\n".join(
        _figure(flow.tables, shares, number) for number, shares in enumerate(flow.passes, 1)
    )
    numbers = "\n".join(
        _numbers(flow.tables, shares, number) for number, shares in enumerate(flow.passes, 1)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>{_STYLE}</style></head><body><main>
<h1>{escape(title)}</h1>
<p>{told} An arrow runs from the table that is read to its reader; its width is the share of the
reader's attention. {NOT_THE_SAME}. Point at an arrow or a table, or reach it with Tab.</p>
<output aria-live="polite"></output>
{figures}
{_importance(importance)}<h2>Shares as numbers</h2>
{numbers}
</main><script>{_SCRIPT}</script></body></html>
"""


def _figure(tables: tuple[str, ...], shares: tuple[tuple[float, ...], ...], number: int) -> str:
    places = [_place(index, len(tables)) for index in range(len(tables))]
    edges = [
        _edge((places[read], places[reader]), share, (tables[reader], tables[read]))
        for reader, row in enumerate(shares)
        for read, share in enumerate(row)
        if share >= FAINT and reader != read
    ]
    nodes = [_node(name, place) for name, place in zip(tables, places, strict=True)]
    marker = (
        f'<defs><marker id="tip{number}" viewBox="0 0 6 6" refX="6" refY="3" markerWidth="9" '
        'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
        '<path d="M0,0 L6,3 L0,6 z" fill="#2557d6"/></marker></defs>'
    )
    lines = "".join(edges).replace("#tip", f"#tip{number}")
    return (
        f'<figure><svg viewBox="0 0 {SIDE} {SIDE}" width="{SIDE}" height="{SIDE}" role="group" '
        f'aria-label="attention between tables, pass {number}">'
        f"{marker}{lines}{''.join(nodes)}</svg><figcaption>pass {number}</figcaption></figure>"
    )


def _node(name: str, place: tuple[float, float]) -> str:
    (x, y), table = place, escape(name, quote=True)
    below = 2.6 * DOT if y > SIDE / 2 + 1 else -1.6 * DOT
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT}" tabindex="0" role="img" '
        f'aria-label="{table}" data-table="{table}"><title>{table}</title></circle>'
        f'<text x="{x:.1f}" y="{y + below:.1f}">{escape(name)}</text>'
    )


def _place(index: int, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * index / count - math.pi / 2
    return SIDE / 2 + CIRCLE * math.cos(angle), SIDE / 2 + CIRCLE * math.sin(angle)


def _edge(
    ends: tuple[tuple[float, float], tuple[float, float]], share: float, names: tuple[str, str]
) -> str:
    (x1, y1), (x2, y2) = ends
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    # Arrows stop at the dot, and the two directions lie side by side.
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    side_x, side_y, gap = -4 * dy, 4 * dx, DOT + 4
    a, b = f"{x1 + gap * dx + side_x:.1f}", f"{y1 + gap * dy + side_y:.1f}"
    c, d = f"{x2 - gap * dx + side_x:.1f}", f"{y2 - gap * dy + side_y:.1f}"
    reader, read = (escape(name, quote=True) for name in names)
    told = f"{reader} reads {read}: {share:.3f}"
    return (
        f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" stroke-width="{0.5 + 6 * share:.2f}" '
        f'stroke-opacity="0.75" marker-end="url(#tip)" tabindex="0" role="img" '
        f'aria-label="{told}" data-reader="{reader}" data-read="{read}">'
        f"<title>{told}</title></line>"
    )


def _numbers(tables: tuple[str, ...], shares: tuple[tuple[float, ...], ...], number: int) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in tables)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{share:.3f}</td>" for share in row)
        + "</tr>"
        for name, row in zip(tables, shares, strict=True)
    )
    return (
        f"<table><caption>pass {number}: who reads (row) whom (column)</caption>"
        f'<thead><tr><th scope="col">reader</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def _importance(found: Importance | None) -> str:
    if found is None:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(table.table)}</th><td>{table.shapley:.4f}</td>'
        f"<td>{table.low:.4f} to {table.high:.4f}</td></tr>"
        for table in found.tables
    )
    return (
        "<h2>What the answer depended on</h2>"
        f"<table><caption>Shapley share of the loss each table saves, in {found.unit}, with 95 % "
        f"intervals over {found.clusters} entities</caption>"
        '<thead><tr><th scope="col">table</th><th scope="col">importance</th>'
        f'<th scope="col">interval</th></tr></thead><tbody>{rows}</tbody></table>'
    )
