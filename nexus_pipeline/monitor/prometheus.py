"""Findings in Prometheus' text format, for node_exporter's textfile collector.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
A file, not a door of the API: monitoring runs where the tables are, which the API never sees.
"""

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from nexus_pipeline.monitor.record import DriftReport, Finding


class Family(NamedTuple):
    """A metric, what it is, and its samples: labels and value."""

    name: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


def metrics_text(report: DriftReport) -> str:
    """Every finding of a day as gauges; names of tables and columns are labels."""
    lines = []
    for family in _families(report):
        if family.samples:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} gauge"]
            lines += [sample(family.name, *one) for one in family.samples]
    return "\n".join(lines) + "\n"


def sample(name: str, labels: Mapping[str, str], value: float) -> str:
    """One line.

    >>> sample("x", {"column": 'a "b"'}, 0.5)
    'x{column="a \\\\"b\\\\""} 0.5'
    """
    said = ",".join(f'{key}="{escaped(value)}"' for key, value in labels.items())
    shown = repr(float(value)) if math.isfinite(value) else "NaN"
    return f"{name}{{{said}}} {shown}"


def escaped(value: str) -> str:
    """A label's value: backslash, quote and line feed escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _families(report: DriftReport) -> Iterator[Family]:
    own = {"project": report.project, "task": report.task}
    yield Family(
        "nexusflow_drift",
        "How far a column or table is from the champion's data, by measure.",
        tuple(
            ({**own, **_about(one), "measure": measure}, size)
            for one in report.findings
            for measure, size in _sizes(one)
        ),
    )
    yield Family(
        "nexusflow_drift_moved",
        "1 if the distance is over its bound and significant over all tests of the run.",
        tuple(
            ({**own, **_about(one), "measure": one.measure.value}, float(one.moved))
            for one in report.findings
        ),
    )
    whole = (
        ("nexusflow_drift_alarm", "1 if anything moved or the live metric fell.", report.alarm),
        ("nexusflow_drift_tests", "Tests of the run.", len(report.findings)),
        ("nexusflow_drift_day_timestamp_seconds", "The day that was monitored.", _moment(report)),
    )
    for name, said, value in whole:
        if value is not None:
            yield Family(name, said, ((own, float(value)),))
    if report.live:
        newest = report.live[-1]
        labels = {**own, "metric": newest.found.metric}
        yield Family("nexusflow_live_metric", "Metric of predictions whose labels are there.",
                     ((labels, newest.found.estimate),))  # fmt: skip
        yield Family("nexusflow_live_metric_fell", "1 if worse than on the test split, for sure.",
                     ((labels, float(report.live_fell)),))  # fmt: skip


def _about(one: Finding) -> dict[str, str]:
    return {"part": one.part, "table": one.table, "column": one.column}


def _sizes(one: Finding) -> Iterator[tuple[str, float]]:
    yield one.measure.value, one.size
    if one.psi is not None:
        yield "psi", one.psi


def _moment(report: DriftReport) -> float | None:
    if not report.day:
        return None
    return dt.datetime.fromisoformat(report.day).replace(tzinfo=dt.UTC).timestamp()
