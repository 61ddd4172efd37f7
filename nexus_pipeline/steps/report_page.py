"""The evaluation report as one HTML page that asks nothing of the network."""

import math
from html import escape

from nexus_model.evaluate.calibration import Platt
from nexus_model.evaluate.metrics import Direction, metrics_of
from nexus_model.optimize.report import Latency
from nexus_pipeline.steps.report_parts import (
    brief,
    number,
    pair,
    scrolled,
    section,
    share,
    table,
    with_interval,
)
from nexus_pipeline.steps.report_plots import (
    METRIC_NAMES,
    plot_attention,
    plot_calibration,
    plot_curve,
    plot_residuals,
    plot_scores,
)
from nexus_pipeline.steps.report_record import MODEL, EvaluationReport, ModelResult
from nexus_pipeline.steps.report_sections import (
    coverage_section,
    data_section,
    distribution_section,
    explained_sections,
    ranking_section,
    reproduce_section,
    slices_section,
    summary,
)
from nexus_pipeline.steps.report_style import STYLE


def render_page(evaluation: EvaluationReport) -> str:
    """The whole page."""
    task, project = evaluation.task, evaluation.background.project
    about = f"{task.kind.value} task, one answer per row of {task.entity_table}"
    if task.horizon_days:
        about += f" and cutoff, about the {task.horizon_days} days after it"
    title = " / ".join(part for part in (project, task.name) if part)
    parts = [
        summary(evaluation),
        _verdict(evaluation),
        _comparison(evaluation),
        pair([_curve(evaluation), _calibration(evaluation)]),
        ranking_section(evaluation),
        _metrics(evaluation),
        slices_section(evaluation),
        *explained_sections(evaluation),
        _attention(evaluation),
        data_section(evaluation),
        pair([_sizes(evaluation), _splits(evaluation)]),
        distribution_section(evaluation),
        reproduce_section(evaluation),
        _provenance(evaluation),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)} &ndash; NexusFlow evaluation</title><style>{STYLE}</style></head>"
        f"<body><main><header><p>NexusFlow evaluation</p><h1>{escape(title)}</h1>"
        f"<p>{escape(about)}</p></header>{''.join(parts)}"
        "<footer>Intervals are percentiles of a bootstrap that draws whole cutoffs; for a static "
        "task it draws samples. The best baseline was chosen on validation rows. Every number "
        "here is in metrics.json.</footer></main></body></html>\n"
    )


def _kind(evaluation: EvaluationReport, name: str) -> str:
    if name == MODEL:
        return "model"
    return "best" if name == evaluation.best_baseline else ""


def _verdict(evaluation: EvaluationReport) -> str:
    model, found = evaluation[MODEL].test[0], evaluation.verdict
    metric = METRIC_NAMES[evaluation.metric]
    numbers = f'<div class="model"><b>{number(model.estimate)}</b><span>nexusformer</span></div>'
    if found is None or evaluation.best_baseline is None:
        text = f"Test {metric} {with_interval(model)}; there is no baseline to compare with."
        return _banner("", "no comparison", text, numbers)
    best = evaluation[evaluation.best_baseline].test[0]
    name = escape(evaluation.best_baseline)
    numbers += f'<div class="best"><b>{number(best.estimate)}</b><span>{name}</span></div>'
    text = (
        f"Test {metric} of NexusFormer less that of <b>{name}</b>, the best baseline on "
        f"validation: <b>{with_interval(found, 3)}</b>."
    )
    if not math.isfinite(found.low):
        return _banner(
            "", "no interval", f"{text} One cutoff or one class gives no interval.", numbers
        )
    sign = 1 if evaluation.direction is Direction.MIN else -1
    low, high = sorted((sign * found.low, sign * found.high))
    kind = "better" if high < 0 else "worse" if low > 0 else ""
    label = {"better": "NexusFormer is better", "worse": "NexusFormer is worse"}.get(
        kind, "no clear difference"
    )
    drawn = "cutoffs" if evaluation.splits[-1].first else "samples"
    text += (
        f" Better in {share(found.probability_better)} of the draws of {found.clusters} {drawn}."
    )
    return _banner(kind, label, text, numbers)


def _banner(kind: str, label: str, text: str, numbers: str) -> str:
    return (
        f'<section class="verdict {kind}"><div><p class="label">{label}</p><p>{text}</p></div>'
        f'<div class="numbers">{numbers}</div></section>'
    )


def _comparison(evaluation: EvaluationReport) -> str:
    against = {c.baseline: c.difference for c in evaluation.comparisons}
    rows = []
    for model in evaluation.models:
        found = against.get(model.name)
        cells = [
            _named(model),
            number(model.validation[0].estimate),
            with_interval(model.test[0]),
            "" if found is None else with_interval(found, 3),
            "" if found is None else share(found.probability_better),
            _seconds(model),
        ]
        rows.append((_kind(evaluation, model.name), cells))
    better = "lower" if evaluation.direction is Direction.MIN else "higher"
    metric = METRIC_NAMES[evaluation.metric]
    head = [
        "model",
        f"validation<br>{metric}",
        f"test {metric}<br>[95 %]",
        "NexusFormer less<br>this [95 %]",
        "better in<br>draws",
        "CPU<br>seconds",
    ]
    why = (
        f"The model beside every baseline, {better} is better. Differences compare both models "
        "on the same draws, so they can be clear where the intervals overlap."
    )
    plot = scrolled(plot_scores(evaluation), "every model on test")
    return section("Comparison", why, plot, table(head, rows))


def _named(model: ModelResult) -> str:
    note = f"<small>{escape(model.cost.note)}</small>" if model.cost.note else ""
    return f"<b>{escape(model.name)}</b>{note}"


def _seconds(model: ModelResult) -> str:
    cost = model.cost.cpu_seconds if model.cost.cpu_seconds is not None else model.cost.seconds
    return "" if cost is None else f"{cost:.1f}" if cost >= 0.05 else "&lt;0.1"


def _metrics(evaluation: EvaluationReport) -> str:
    names = [METRIC_NAMES[metric.name] for metric in metrics_of(evaluation.task)]
    rows = [
        (
            _kind(evaluation, model.name),
            [f"<b>{escape(model.name)}</b>", *(with_interval(found) for found in model.test)],
        )
        for model in evaluation.models
    ]
    return section(
        "Every metric on test",
        "With 95 % intervals.",
        f'<div class="stack">{table(["model", *names], rows)}</div>',
    )


def _curve(evaluation: EvaluationReport) -> str:
    curve = evaluation.background.curve
    if not curve:
        return ""
    best = max((point.epoch for point in curve if point.best), default=curve[-1].epoch)
    why = f"{len(curve)} epochs; the weights of epoch {best} were kept."
    return section("Learning", why, plot_curve(curve, METRIC_NAMES[evaluation.metric]))


def _calibration(evaluation: EvaluationReport) -> str:
    found = evaluation.calibration
    if found is None:
        return coverage_section(evaluation) or _residuals(evaluation)
    fitted = found.correction
    told = (
        f"slope {brief(fitted.slope)}, intercept {brief(fitted.intercept)} on the logit"
        if isinstance(fitted, Platt)
        else f"temperature {brief(fitted.temperature)}"
    )
    why = (
        f"Expected calibration error {brief(found.ece)}; {brief(found.corrected_ece)} "
        f"(pale) with the correction fitted on validation ({told})."
    )
    return section("Calibration", why, plot_calibration(found))


def _residuals(evaluation: EvaluationReport) -> str:
    found = evaluation.residuals
    if found is None:
        return ""
    why = (
        f"The band holds {found.promised:.0%} of validation residuals and covers "
        f"{share(found.coverage)} of test labels. {len(found.points)} test rows are drawn."
    )
    return section("Predicted and actual", why, plot_residuals(found))


def _attention(evaluation: EvaluationReport) -> str:
    found = evaluation.background.attention
    if found is None:
        return ""
    why = (
        "Percent of a table's reading (row) that went to each other table (column). It is where "
        "the model looked, not what the answer depended on."
    )
    return section("Who read whom", why, scrolled(plot_attention(found), "who read whom"))


def _sizes(evaluation: EvaluationReport) -> str:
    found = evaluation.background.sizes
    if found is None:
        return ""
    pairs = [
        ("file, bytes", found.file_bytes),
        ("weight matrices, bytes", found.matrix_bytes),
        (f"validation {METRIC_NAMES.get(found.metric, escape(found.metric))}", found.score),
    ]
    rows = [
        ("", [name, number(pair.float32), number(pair.int8), brief(pair.ratio)])
        for name, pair in pairs
    ]
    if found.latency_float32 and found.latency_int8:
        both = [_latency(found.latency_float32), _latency(found.latency_int8)]
        rows.append(("", ["one call, ms (p50 / p95)", *both, ""]))
    why = (
        f"INT8 weights change no prediction of {found.rows:,} by more than "
        f"{brief(found.largest_difference)}. They save bytes, not time."
    )
    return section("Size", why, table(["", "float32", "INT8", "ratio"], rows))


def _latency(found: Latency) -> str:
    return f"{brief(found.p50_ms)} / {brief(found.p95_ms)}"


def _splits(evaluation: EvaluationReport) -> str:
    rows = []
    for facts in evaluation.splits:
        span = f"{facts.first}<small>to {facts.last}</small>" if facts.first else "&ndash;"
        cells = [facts.split, f"{facts.rows:,}", f"{facts.clusters:,}", span]
        rows.append(("", [*cells, brief(facts.label_mean)]))
    why = "Clusters are cutoffs; without cutoffs every sample is its own."
    head = ["split", "samples", "clusters", "cutoffs", "label mean"]
    return section("Samples", why, f'<div class="stack">{table(head, rows)}</div>')


def _provenance(evaluation: EvaluationReport) -> str:
    facts = evaluation.background.provenance
    if not facts:
        return ""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    table = f'<table class="facts"><tbody>{rows}</tbody></table>'
    return section("Provenance", "What this was made from.", table)
