"""Monitoring of one task on one day: read, compare, decide, write.

Writes ``data/evaluated/<project>/drift_<task>/<day>/``: ``drift.json`` (every number),
``drift.html`` (the page), ``drift.prom`` (for Prometheus), ``novelty.parquet`` (an entity a row)
and ``summary.json`` (for alarms). The same tables, champion and settings write the same bytes.
"""

import datetime as dt
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from nexus_model.align.recipe import Recipe
from nexus_pipeline.monitor.compare import decide
from nexus_pipeline.monitor.live import has_fallen, live_metrics
from nexus_pipeline.monitor.novelty import LINE, Vectors, novelty_quantiles
from nexus_pipeline.monitor.observed import (
    LEARNED,
    Observed,
    Said,
    all_labels,
    as_labels,
    closed_labels,
    compare_observed,
    key_texts,
    read_model,
)
from nexus_pipeline.monitor.page import render_drift
from nexus_pipeline.monitor.prometheus import metrics_text
from nexus_pipeline.monitor.record import DriftReport, Novelty, told
from nexus_pipeline.monitor.reference import (
    Champion,
    Reference,
    ensure_reference,
    load_champion,
)
from nexus_pipeline.monitor.summary import SUMMARY, DriftSummary, drift_folder
from nexus_pipeline.monitor.windows import Span, as_array, read_rows
from nexus_pipeline.project import ProjectConfig, monitoring_of
from nexus_pipeline.steps.align import folder_hash
from nexus_pipeline.steps.predict_batch import PREDICTIONS, last_cohort, prediction_folder
from nexus_pipeline.steps.serve_task import raw_frames
from nexus_pipeline.steps.stored import Fact, Stored, relative
from nexus_pipeline.storage import Store

REPORT, PAGE, METRICS, NOVELTY = "drift.json", "drift.html", "drift.prom", "novelty.parquet"
EXAMPLES = 10
NO_CHAMPION = "No version has passed the gate yet, so nothing was compared."
TOO_LATE = (
    "The tables changed before a reference was kept, and without time nobody can say what they "
    "were: train again, then monitor."
)


class Monitored(NamedTuple):
    """Reference to what was written, the report, and its table as Markdown."""

    stored: Stored
    report: DriftReport
    table: str


class Now(NamedTuple):
    """What was seen, which entities it was seen of, and what could not be seen."""

    observed: Observed
    notes: tuple[str, ...]


def drift_task(
    project: ProjectConfig, task: str, store: Store, uri: str, day: str, data_version: str
) -> Monitored:
    """Compare the tables as a day begins, or as they are now, with the champion's reference."""
    config, champion = monitoring_of(project), load_champion(project, task, uri)
    reference = None if champion is None else ensure_reference(project, task, store, champion)
    report = DriftReport(
        project=project.project_name,
        task=task,
        day=day,
        champion="" if champion is None else champion.version,
        data_version=data_version,
        reference="nothing" if reference is None else reference.facts.told,
        window=f"the {config.window_days} days before {day}" if day else "all rows there are",
        alpha=config.alpha,
        findings=(),
        live_bound=config.metric,
    )
    if champion is None or reference is None:
        note = NO_CHAMPION if champion is None else TOO_LATE
        return _written(project, report.model_copy(update={"notes": (note,)}), None)
    recipe = champion.predictor.artifact.recipe
    now = _seen_now(project, recipe, store, champion, day)
    seen = now.observed
    findings = decide(config, compare_observed(config, task, reference.observed, seen))
    known = frozenset(reference.facts.keys)
    live = live_metrics(project, recipe, store, day, known)
    novelty = _novelty(seen.vectors, reference)
    report = report.model_copy(
        update={
            "findings": findings,
            "live": live,
            "expected": reference.facts.expected,
            "live_fell": has_fallen(live, reference.facts.expected, config.metric),
            "novelty": None if novelty is None else novelty[0],
            "notes": (*_reference_notes(reference), *_gone(reference, seen), *now.notes),
        }
    )
    return _written(project, report, None if novelty is None else novelty[1])


def _seen_now(
    project: ProjectConfig, recipe: Recipe, store: Store, champion: Champion, day: str
) -> Now:
    config, task = monitoring_of(project), recipe.task
    moment = dt.datetime.fromisoformat(day) if day else None
    span = None if moment is None else Span.before(moment, config.window_days)
    frames = raw_frames(project, task.name, store)
    with store.read() as con:
        tables = read_rows(con, recipe, span, config.most_rows)
        found = _labels_now(con, recipe, moment, config.window_days)
    asked = None if moment is None else set(last_cohort(recipe, store, moment))
    answers, vectors = read_model(champion.predictor, frames, moment, asked, config.most_rows)
    predictions = (
        _of_others(answers, recipe, found)
        if moment is None
        else _of_day(project, recipe, day, {*key_texts(_keys(answers, recipe))})
    )
    labels = as_labels(task, found)
    missing = f"The champion's predictions of {day} were not made."
    notes = () if predictions is not None else (missing,)
    return Now(Observed(tables, predictions, labels, vectors), notes)


def _labels_now(
    con: duckdb.DuckDBPyConnection, recipe: Recipe, moment: dt.datetime | None, days: int
) -> pa.Table:
    """Labels whose windows closed in the days before, of one cutoff at least; all without time."""
    if moment is None or recipe.grid is None:
        return all_labels(con, recipe)
    return closed_labels(con, recipe, *Span.before(moment, max(days, recipe.grid.step_days)))


def _keys(table: pa.Table, recipe: Recipe) -> pa.Table:
    return table.select(recipe.entity.primary_key)


def _of_others(answers: pa.Table, recipe: Recipe, labels: pa.Table) -> Said:
    """Predictions about entities the champion has not learned from."""
    pairs = zip(labels["key"].to_pylist(), labels["split"].to_pylist(), strict=True)
    learned = {key for key, split in pairs if split in LEARNED}
    others = [key not in learned for key in key_texts(_keys(answers, recipe))]
    return Said(as_array(answers.filter(pa.array(others, pa.bool_()))["prediction"]))


def _of_day(project: ProjectConfig, recipe: Recipe, day: str, asked: set[str]) -> Said | None:
    """The predictions of a day about those the task asked about last."""
    file = prediction_folder(project, recipe.task.name, day) / PREDICTIONS
    if not file.is_file():
        return None
    table = parquet.read_table(file)
    chosen = [key in asked for key in key_texts(_keys(table, recipe))]
    values = as_array(table.filter(pa.array(chosen, pa.bool_()))["prediction"])
    return Said(values, np.full(len(values), day))


def _reference_notes(reference: Reference) -> tuple[str, ...]:
    if reference.facts.made_with_champion:
        return ()
    return (
        "The tables changed before a reference was kept: rewritten history is not seen, and "
        "predictions and novelty have nothing to be compared with.",
    )


def _gone(reference: Reference, now: Observed) -> tuple[str, ...]:
    """Columns the champion's tables have and today's do not."""
    lost = [
        f"{name}.{column}"
        for name, then in reference.observed.tables.items()
        for column in then.sample.column_names
        if name in now.tables and column not in now.tables[name].sample.column_names
    ]
    return (f"No longer there: {', '.join(lost)}.",) if lost else ()


def _novelty(asked: Vectors | None, reference: Reference) -> tuple[Novelty, pa.Table] | None:
    """How far out everybody is: in few words, and an entity a row."""
    known = reference.observed.vectors
    if asked is None or known is None:
        return None
    distance_B, place_B = novelty_quantiles(asked, known)
    farthest = np.argsort(-distance_B, kind="stable")[:EXAMPLES]
    examples = tuple((asked.keys[at], round(float(place_B[at]), 6)) for at in farthest.tolist())
    found = Novelty(
        entities=len(asked.keys),
        known=len(known.keys),
        share=float((place_B > LINE).mean()) if len(place_B) else 0.0,
        examples=examples,
    )
    table = pa.table(
        {"entity": list(asked.keys), "distance": distance_B, "novelty": place_B.round(6)}
    )
    return found, table


def _written(project: ProjectConfig, report: DriftReport, novelty: pa.Table | None) -> Monitored:
    folder = drift_folder(project, report.task, report.day)
    folder.mkdir(parents=True, exist_ok=True)
    summary = summary_of(report)
    texts = {
        REPORT: report.model_dump_json(indent=1),
        PAGE: render_drift(report),
        METRICS: metrics_text(report),
        SUMMARY: summary.model_dump_json(indent=1),
    }
    (folder / NOVELTY).unlink(missing_ok=True)
    if novelty is not None:
        parquet.write_table(novelty, folder / NOVELTY)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    facts: dict[str, Fact] = {
        "alarm": report.alarm,
        "moved": ", ".join(report.moved_columns),
        "tests": len(report.findings),
        "told": summary.told,
        "page": relative(folder / PAGE, project.root),
    }
    stored = Stored(
        location=relative(folder, project.root),
        sha256=folder_hash(folder),
        rows=len(report.findings),
        facts=facts,
    )
    return Monitored(stored, report, as_markdown(report))


def summary_of(report: DriftReport) -> DriftSummary:
    """What an alarm needs to know."""
    return DriftSummary(
        project=report.project,
        task=report.task,
        day=report.day,
        alarm=report.alarm,
        moved=report.moved_columns,
        told=told(report),
        champion=report.champion,
        data_version=report.data_version,
    )


def as_markdown(report: DriftReport, most: int = 15) -> str:
    """What moved, then what came nearest to moving, as a table."""
    lines = [told(report), "", "| | measure | size | bound | PSI | p | moved |", "|" + "---|" * 7]
    rest = sorted((one for one in report.findings if not one.moved), key=lambda one: one.corrected)
    for one in [*report.moved, *rest][:most]:
        psi = "" if one.psi is None else f"{one.psi:.3f}"
        moved = "**yes**" if one.moved else "no"
        name = one.name.replace("|", "/")
        lines.append(
            f"| {name} | {one.measure} | {one.size:.3f} | {one.bound:g} | {psi} "
            f"| {one.corrected:.2g} | {moved} |"
        )
    return "\n".join([*lines, *(f"\n{note}" for note in report.notes)])


def publish_metrics(report: DriftReport, folder: Path) -> None:
    """Replace a task's file for Prometheus, unless it tells of a later day."""
    file = folder / f"{report.project}_{report.task}.prom"
    newest = file.with_suffix(".day")
    if newest.is_file() and report.day < newest.read_text("utf-8"):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in ((file, metrics_text(report)), (newest, report.day)):
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def read_drift(project: ProjectConfig, task: str, day: str) -> DriftReport:
    """The report that was written."""
    file = drift_folder(project, task, day) / REPORT
    return DriftReport.model_validate_json(file.read_text(encoding="utf-8"))
