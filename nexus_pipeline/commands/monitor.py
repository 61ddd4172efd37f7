"""The command that says what moved: monitor."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_pipeline.answer import Answer
from nexus_pipeline.commands.options import HERE, ProjectOption, TaskOption

if TYPE_CHECKING:
    from nexus_pipeline.monitor.record import DriftReport
    from nexus_pipeline.project import ProjectConfig

ALARM = 1
DayOption = Annotated[
    str, typer.Option(help="YYYY-MM-DD; the last moment the tables reach if unset")
]


def monitor(project: ProjectOption = HERE, task: TaskOption = None, day: DayOption = "") -> Answer:
    """Compare today's tables, predictions and labels with the champion's; exit code 1 on an alarm.

    Example: nexusflow monitor --task dnf --day 2013-06-01
    """
    from nexus_pipeline.defs.making import MONITORING, WRITING
    from nexus_pipeline.defs.monitored import check_day, keep_references, last_day
    from nexus_pipeline.monitor.drift_task import read_drift
    from nexus_pipeline.project import load_project
    from nexus_pipeline.run import materialize

    config = load_project(project)
    check_day(config, day)
    _refuse(config, keep_references(config, task))
    reports = []
    for name in (task,) if task else config.task_names:
        if config.tasks and not day:
            materialize(project, WRITING, name)
        asked = day or last_day(config, name)
        materialize(project, task=name, job=MONITORING, day=asked)
        reports.append(read_drift(config, name, asked))
    facts = {report.task: _facts(config, report) for report in reports}
    shown = [part for report in reports for part in _shown(config, report)]
    return Answer(facts, tuple(shown), ALARM if any(one.alarm for one in reports) else 0)


def _refuse(config: "ProjectConfig", without: list[str]) -> None:
    from nexus_model.schema import ConfigurationError

    if without:
        raise ConfigurationError(
            f"{config.project_name}: no champion of {', '.join(without)}, so there is nothing to "
            "compare with; `nexusflow train` makes one"
        )


def _page(config: "ProjectConfig", report: "DriftReport") -> Path:
    from nexus_pipeline.monitor.drift_task import PAGE
    from nexus_pipeline.monitor.summary import drift_folder

    return drift_folder(config, report.task, report.day) / PAGE


def _facts(config: "ProjectConfig", report: "DriftReport") -> dict[str, Any]:
    from nexus_pipeline.monitor.drift_task import summary_of

    moved = [one.model_dump(mode="json", exclude={"distribution"}) for one in report.moved]
    live = [one.model_dump(mode="json") for one in report.live]
    return {
        **summary_of(report).model_dump(mode="json"),
        "findings": moved,
        "tests": len(report.findings),
        "live": live,
        "novel_share": None if report.novelty is None else report.novelty.share,
        "notes": list(report.notes),
        "page": str(_page(config, report)),
    }


def _shown(config: "ProjectConfig", report: "DriftReport") -> list[Any]:
    from rich.table import Table

    from nexus_pipeline.monitor.record import told

    title = f"{config.project_name}/{report.task} {report.day}".strip()
    parts: list[Any] = [f"{title}: {told(report)}"]
    if report.moved:
        table = Table(title_justify="left")
        for heading in ("moved", "measure", "size", "bound", "PSI", "p"):
            table.add_column(
                heading, justify="left" if heading in {"moved", "measure"} else "right"
            )
        for one in report.moved:
            psi = "" if one.psi is None else f"{one.psi:.3f}"
            sized = (f"{one.size:.3f}", f"{one.bound:g}", psi, f"{one.corrected:.1g}")
            table.add_row(one.name, one.measure.value, *sized)
        parts.append(table)
    for live in report.live[-1:]:
        found = live.found
        interval = f"{found.estimate:.4f}, {found.low:.4f} to {found.high:.4f}"
        parts.append(f"live {found.metric} of {live.day or 'new labels'}: {interval}")
    return [*parts, *report.notes, f"page: {_page(config, report)}"]
