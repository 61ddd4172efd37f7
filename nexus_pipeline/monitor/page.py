"""The monitoring page: one HTML file, nothing of the network in it, that begins with what moved."""

from html import escape

from nexus_pipeline.monitor.pictures import COLOURS, plot_beside
from nexus_pipeline.monitor.record import DriftReport, Finding, Measure, told
from nexus_pipeline.steps.report_parts import (
    brief,
    number,
    section,
    share,
    table,
    with_interval,
)
from nexus_pipeline.steps.report_style import STYLE

MEASURES = {
    Measure.NUMBERS: "Kolmogorov's distance",
    Measure.CATEGORIES: "Cram&eacute;r's V",
    Measure.MISSING: "change of share missing",
    Measure.CLASSIFIER: "AUROC, now from then",
    Measure.VOLUME: "rows a day, times",
    Measure.NOVELTY: "share beyond 99 %",
}
MOST_PICTURES = 12
LEGEND = (
    '<p class="legend"><b class="then">grey</b>: the champion\'s data; <b class="model">blue</b>: '
    "now. Bins of numbers hold a tenth of the champion's rows each.</p>"
)


def render_drift(report: DriftReport) -> str:
    """The whole page."""
    title = " / ".join(part for part in (report.project, report.task, report.day) if part)
    parts = [_verdict(report), _pictures(report), _live(report), _tests(report), _novelty(report),
             _provenance(report)]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)} &ndash; NexusFlow monitoring</title>"
        f"<style>{STYLE}\n{COLOURS}</style></head>"
        f"<body><main><header><p>NexusFlow monitoring</p><h1>{escape(title)}</h1>"
        f"<p>{escape(report.window)}, against {escape(report.reference)}</p></header>"
        f"{''.join(parts)}"
        "<footer>Moved: a size over its bound, and a p-value corrected over all tests of the run "
        f"(Holm) under {report.alpha:g}. Every number here is in drift.json.</footer>"
        "</main></body></html>\n"
    )


def _verdict(report: DriftReport) -> str:
    kind, label = ("worse", "alarm") if report.alarm else ("better", "no alarm")
    if not report.findings:
        kind, label = "", "not compared"
    said = escape(told(report)) if report.findings else escape(" ".join(report.notes))
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes) if report.findings else ""
    return (
        f'<section class="verdict {kind}"><div><p class="label">{label}</p><p>{said}</p>{notes}'
        f'</div><div class="numbers"><div><b>{len(report.moved)}</b><span>moved</span></div>'
        f"<div><b>{len(report.findings)}</b><span>tests</span></div></div></section>"
    )


def _pictures(report: DriftReport) -> str:
    """What moved, or else what came nearest to it."""
    shown = {one.name: one for one in reversed(report.moved) if one.distribution}
    title, why = "What moved", "Each column that moved, then and now."
    if not shown:
        near = sorted(
            (one for one in report.findings if one.distribution), key=lambda one: one.corrected
        )
        shown = {one.name: one for one in near[:4]}
        title, why = "Nearest to moving", "Nothing moved; these columns came nearest."
    if not shown:
        return ""
    order = [one.name for one in report.moved if one.name in shown] or list(shown)
    drawn = "".join(_beside(shown[name]) for name in list(dict.fromkeys(order))[:MOST_PICTURES])
    return section(title, why, f'<div class="rows">{drawn}</div>', LEGEND)


def _beside(one: Finding) -> str:
    picture = "" if one.distribution is None else plot_beside(one.name, one.distribution)
    return f"<article><h3>{escape(one.name)}</h3><p>{_sized(one)}</p>{picture}</article>"


def _sized(one: Finding) -> str:
    said = f"{MEASURES[one.measure]} {brief(one.size)}"
    said += "" if one.psi is None else f", PSI {brief(one.psi)}"
    unseen = f", {share(one.unseen)} of rows of unknown categories" if one.unseen else ""
    return f"{said}{unseen}"


def _tests(report: DriftReport) -> str:
    rank = {one.name: at for at, one in enumerate(report.moved)}
    ordered = sorted(
        report.findings,
        key=lambda one: (not one.moved, rank.get(one.name, 0), one.corrected, one.name),
    )
    rows = [
        (
            "best" if one.moved else "",
            [
                f"<b>{escape(one.name)}</b><small>{_about(one)}</small>",
                MEASURES[one.measure],
                _size(one),
                f"{one.bound:g}",
                "" if one.psi is None else brief(one.psi),
                f"{one.corrected:.2g}",
                f"{one.reference_rows:,}",
                f"{one.current_rows:,}",
                "yes" if one.moved else "no",
            ],
        )
        for one in ordered
    ]
    head = ["", "measure", "size", "bound", "PSI", "p, corrected", "rows then", "rows now", "moved"]
    return section("Every test", "What moved first, then by p-value.", table(head, rows))


def _about(one: Finding) -> str:
    if one.by:
        return f"told apart most by {escape(', '.join(one.by))}"
    return escape(one.part)


def _size(one: Finding) -> str:
    if one.low is None or one.high is None:
        return brief(one.size)
    return f"{brief(one.size)} <small>[{brief(one.low)}, {brief(one.high)}]</small>"


def _live(report: DriftReport) -> str:
    if not report.live:
        return ""
    rows = [
        ("", [escape(one.day or "new labels"), escape(one.champion), with_interval(one.found),
              f"{one.found.rows:,}"])
        for one in report.live
    ]  # fmt: skip
    if report.expected is not None:
        found = report.expected
        rows.append(("model", ["<b>test split</b>", escape(report.champion), with_interval(found),
                               f"{found.rows:,}"]))  # fmt: skip
    head = ["predicted on", "version", escape(report.live[-1].found.metric), "labels"]
    fell = "The newest is worse than on the test split, for sure." if report.live_fell else ""
    why = f"Predictions whose labels are there by now, with 95 % intervals. {fell}"
    return section("Live metric", why, table(head, rows))


def _novelty(report: DriftReport) -> str:
    found = report.novelty
    if found is None:
        return ""
    rows = [("", [escape(key), number(place, 1.0, 3)]) for key, place in found.examples]
    why = (
        f"{share(found.share)} of {found.entities:,} entities are farther from the nearest of "
        f"{found.known:,} training entities than 99 % of those are from each other. All are in "
        "novelty.parquet."
    )
    head = ["farthest entities", "place among training's own distances"]
    return section("Novelty", why, table(head, rows))


def _provenance(report: DriftReport) -> str:
    facts = {
        "compared": report.window,
        "with": report.reference,
        "champion": report.champion or "none",
        "data version": report.data_version,
    }
    rows = [("", [name, escape(value)]) for name, value in facts.items()]
    content = table(["", ""], rows).replace("<table>", '<table class="facts">', 1)
    return section("From what", "", content)
