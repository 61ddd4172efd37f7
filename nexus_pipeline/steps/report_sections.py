"""Sections of the report about data, ranking, slices, explanations and distributions."""

import math
from html import escape

from nexus_model.evaluate.metrics import Direction
from nexus_model.explain.importance import Importance
from nexus_model.schema import TaskKind
from nexus_pipeline.steps.report_facts import ExplainedRow, Explanations
from nexus_pipeline.steps.report_graph import plot_flow, plot_schema
from nexus_pipeline.steps.report_parts import brief, number, scrolled, section, share, table
from nexus_pipeline.steps.report_pictures import (
    plot_importance,
    plot_ranking,
    plot_slices,
    plot_spread,
)
from nexus_pipeline.steps.report_plots import METRIC_NAMES, plot_coverage
from nexus_pipeline.steps.report_record import MODEL, EvaluationReport

NOT_THE_SAME = (
    "Attention is where the model looked, not what the answer depended on; the two are not the same"
)


def summary(evaluation: EvaluationReport) -> str:
    """Five sentences: what, from what, how well, what matters, how far to trust it."""
    told = [_what(evaluation), _from_what(evaluation), _how_well(evaluation)]
    told += [_what_matters(evaluation), _how_far(evaluation)]
    items = "".join(f"<li>{sentence}</li>" for sentence in told)
    return f'<section class="summary"><h2>In five sentences</h2><ol>{items}</ol></section>'


def _what(evaluation: EvaluationReport) -> str:
    task = evaluation.task
    name = f"<b>{escape(task.name)}</b>"
    positive = f" is {escape(task.classes[1])}" if len(task.classes) == 2 else ""
    said = {
        TaskKind.BINARY: f"the probability that {name}{positive or ' holds'}",
        TaskKind.MULTICLASS: f"the probability of each of {len(task.classes)} classes of {name}",
        TaskKind.REGRESSION: f"the value of {name}",
        TaskKind.QUANTILE: f"{_listed(task.quantiles)} of {name}",
    }[task.kind]
    when = f", over the {task.horizon_days} days that follow" if task.horizon_days else ""
    return f"The model gives, for each row of <b>{escape(task.entity_table)}</b>, {said}{when}."


def _listed(quantiles: tuple[float, ...]) -> str:
    """The levels in words."""
    noun = "quantiles" if len(quantiles) > 1 else "quantile"
    return f"the {noun} {', '.join(f'{level:g}' for level in quantiles)}"


def _from_what(evaluation: EvaluationReport) -> str:
    train = evaluation.splits[0]
    card = evaluation.background.data
    rows = f"It learned from {train.rows:,} samples"
    if card is None:
        return f"{rows}."
    total = sum(one.rows for one in card.tables)
    apart = sum(one.quarantined or 0 for one in card.tables)
    kept = f"; {apart:,} rows that broke their contract were kept apart" if apart else ""
    return f"{rows} of {len(card.tables)} related tables with {total:,} rows{kept}."


def _how_well(evaluation: EvaluationReport) -> str:
    own, metric = evaluation[MODEL].test[0], METRIC_NAMES[evaluation.metric]
    held = f"On {own.rows:,} test samples its {metric} is {number(own.estimate)}"
    if evaluation.best_baseline is None or evaluation.verdict is None:
        return f"{held}."
    best = evaluation[evaluation.best_baseline].test[0]
    found = evaluation.verdict
    sign = 1 if evaluation.direction is Direction.MIN else -1
    bounds = sorted((sign * found.low, sign * found.high))
    judged = "a difference that may be chance"
    if math.isfinite(found.low) and bounds[1] < 0:
        judged = "better beyond chance"
    if math.isfinite(found.low) and bounds[0] > 0:
        judged = "worse beyond chance"
    return (
        f"{held}; that of {escape(evaluation.best_baseline)}, the best simpler method, is "
        f"{number(best.estimate)}: {judged}."
    )


def _what_matters(evaluation: EvaluationReport) -> str:
    found = evaluation.background.explanations
    if found is None or found.importance is None:
        return "What the model depends on was not measured."
    sure = [row.table for row in found.importance.tables if row.low > 0]
    if not sure:
        return "No table alone matters to its answers beyond chance."
    named = ", ".join(f"<b>{escape(name)}</b>" for name in sure[:3])
    pairs = [" and ".join(map(escape, pair.tables)) for pair in found.pairs if pair.found]
    together = f"; {pairs[0]} say something only together" if pairs else ""
    return f"What matters most to its answers: {named}{together}."


def _how_far(evaluation: EvaluationReport) -> str:
    if evaluation.calibration is not None:
        error = evaluation.calibration.ece
        return (
            f"A probability it gives was off by {brief(100 * error)} points on average over test "
            "samples; it describes what tends to go together, not what causes what."
        )
    if evaluation.residuals is not None:
        found = evaluation.residuals
        return (
            f"A band that should hold {found.promised:.0%} of test labels holds "
            f"{found.coverage:.0%}; it describes what goes together, not what causes what."
        )
    if evaluation.coverage is not None:
        bounds = evaluation.coverage
        where = "between its outermost bounds" if bounds.width is not None else "below its bound"
        return (
            f"Of test labels {share(bounds.held)} lie {where}, {share(bounds.promised)} are "
            "promised; it describes what goes together, not what causes what."
        )
    return "It describes what tends to go together, not what causes what."


def data_section(evaluation: EvaluationReport) -> str:
    """Tables, links and time spans."""
    card = evaluation.background.data
    if card is None:
        return ""
    rows = []
    for one in card.tables:
        span = f"{one.first} <small>to</small> {one.last}" if one.first else "&ndash;"
        apart = "&ndash;" if one.quarantined is None else f"{one.quarantined:,}"
        kind = "model" if one.table == card.entity else ""
        name = f"<b>{escape(one.table)}</b>"
        rows.append((kind, [name, f"{one.rows:,}", apart, f"{one.columns:,}", span]))
    why = (
        "Every table with its rows; arrows point from a row to the row it names. Rows that broke "
        "their contract are kept apart, with the reason. Blue is the table asked about."
    )
    head = ["table", "rows", "kept apart", "columns", "time"]
    picture = scrolled(plot_schema(card), "schema of the tables")
    return section("Data", why, picture, table(head, rows))


def coverage_section(evaluation: EvaluationReport) -> str:
    """Whether each quantile has as many labels below it as it says, and the width of the whole."""
    found = evaluation.coverage
    if found is None:
        return ""
    held = "between the outermost quantiles" if found.width is not None else "below the quantile"
    why = (
        f"{share(found.held)} of test labels lie {held}, {share(found.promised)} are promised"
        f"{_width_told(found.width)}. Pale: {share(found.corrected_held)}"
        f"{_width_told(found.corrected_width)}, each quantile shifted as validation says "
        "(conformalized quantile regression). What is served is not shifted. Labels that repeat "
        "put more at or below a quantile than its level."
    )
    rows = [
        (
            "",
            [f"{one.level:g}", _percent(one.below), brief(shift), _percent(one.corrected_below)],
        )
        for one, shift in zip(found.levels, found.correction.shifts, strict=True)
    ]
    head = ["level", "labels at or<br>below", "shift", "shifted: labels<br>at or below"]
    return section("Coverage", why, plot_coverage(found), table(head, rows))


def _percent(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "&ndash;"


def _width_told(width: float | None) -> str:
    return "" if width is None else f", {brief(width)} apart on average"


def ranking_section(evaluation: EvaluationReport) -> str:
    """Curves for a yes or no, a table of classes, or a histogram of residuals."""
    if evaluation.ranking is not None:
        best = escape(evaluation.best_baseline or "")
        other = f', <b class="best">{best}</b>' if best else ""
        legend = f'<p class="legend"><b class="model">nexusformer</b>{other}, dashed: chance</p>'
        plots = "".join(f"<div>{plot}</div>" for plot in plot_ranking(evaluation.ranking))
        why = "Test samples in the order of the prediction: how soon the right ones come."
        return section("Order", why, f'<div class="triple">{plots}</div>{legend}')
    if evaluation.spread is not None:
        why = (
            f"Their mean is {brief(evaluation.spread.mean)}; the outermost hundredths are left out."
        )
        levels = evaluation.task.quantiles
        of = f" of the quantile {levels[evaluation.task.middle]:g}" if levels else ""
        return section(f"Residuals{of}", why, plot_spread(evaluation.spread))
    if evaluation.confusion is not None:
        found = evaluation.confusion
        rows = [
            ("", [f"<b>{escape(name)}</b>", *(f"{count:,}" for count in counts)])
            for name, counts in zip(found.classes, found.counts, strict=True)
        ]
        head = ["true class", *(f"told {escape(name)}" for name in found.classes)]
        return section(
            "Classes", "Test samples by true class and by the likeliest.", table(head, rows)
        )
    return ""


def slices_section(evaluation: EvaluationReport) -> str:
    """The metric apart by values of what is known of the entity."""
    if not evaluation.slices:
        return ""
    metric, whole = METRIC_NAMES[evaluation.metric], evaluation[MODEL].test[0].estimate
    why = (
        "Where the model is better or worse than overall; in brackets the number of test samples. "
        "Many slices are looked at: one that stands out may do so by chance."
    )
    return section("Slices", why, plot_slices(evaluation.slices, whole, metric))


def explained_sections(evaluation: EvaluationReport) -> list[str]:
    """Importance beside attention, then real rows."""
    found = evaluation.background.explanations
    if found is None:
        return []
    parts = [] if found.importance is None else [_importance(found, found.importance)]
    if found.passes:
        plots = "".join(
            f'<div>{plot_flow(found.tables, one.weights, at)}<p class="legend">cycle {at}</p></div>'
            for at, one in enumerate(found.passes, 1)
        )
        why = (
            f"{NOT_THE_SAME}. A wedge runs from the table that is read to its reader and is as "
            "wide as the share of the reader's attention; point at it for the share."
        )
        parts.append(section("Attention flow", why, f'<div class="triple">{plots}</div>'))
    if found.rows:
        cards = "".join(_row(evaluation, row) for row in found.rows)
        why = (
            "Three real validation rows. Changes are measured by exchanging a table, or an own "
            "column, for that of other samples."
        )
        parts.append(section("Why, row by row", why, f'<div class="rows">{cards}</div>'))
    return parts


def _importance(found: Explanations, importance: Importance) -> str:
    way = "all combinations of tables" if importance.exact else "sampled orders of tables"
    why = (
        f"Shapley share of the loss a table saves on {importance.samples:,} validation samples, "
        f"over {way}: its rows are exchanged for another sample's. An interval that holds zero "
        "means that chance would do."
    )
    pairs = [pair for pair in found.pairs if pair.found]
    told = "; ".join(f"{escape(a)} and {escape(b)}" for a, b in (pair.tables for pair in pairs))
    joint = (
        f"Say something only together: {told}." if pairs else "No pair of tables says something "
    )
    joint += "" if pairs else "together that neither says alone, beyond chance."
    note = f'<p class="legend">{joint}</p>' if found.pairs_asked else ""
    return section("What the answer depends on", why, plot_importance(importance), note)


def _row(evaluation: EvaluationReport, row: ExplainedRow) -> str:
    task = evaluation.task
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in row.reasons)
    listed = f"<ul>{reasons}</ul>" if reasons else "<p>Nothing changes it noticeably.</p>"
    said = f"{row.prediction:.1%}" if not task.kind.is_number else number(row.prediction)
    label = f"{row.label:g}"
    if task.classes and math.isfinite(row.label):
        label = task.classes[int(row.label)]
    cycles = ", ".join(f"{score:.3g}" for score in row.score_after_each_cycle)
    return (
        f"<article><h3>{escape(task.entity_table)} {escape(row.key)}: {said}</h3>"
        f"<p>{row.which} prediction; what happened: {escape(label)}. Score after each cycle: "
        f"{cycles}.</p>{listed}</article>"
    )


def distribution_section(evaluation: EvaluationReport) -> str:
    """What later data is compared with."""
    found = evaluation.background.distributions
    if not found:
        return ""
    rows = [
        ("", [f"<b>{escape(one.name)}</b>", *(brief(value) for value in one.quantiles)])
        for one in found
    ]
    head = ["over training samples", "5 %", "25 %", "median", "75 %", "95 %"]
    why = "Where training samples stand: data that looks otherwise is not what the model knows."
    return section("Baseline for drift", why, table(head, rows))


def reproduce_section(evaluation: EvaluationReport) -> str:
    """The command."""
    command = evaluation.background.reproduce
    if not command:
        return ""
    why = "The same raw bytes, project file and code give the same model."
    return section("Make it again", why, f'<pre tabindex="0">{escape(command)}</pre>')
