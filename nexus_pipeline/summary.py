"""What a run ends with: the comparison, where things are, how to look at them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from nexus_pipeline.answer import Answer
from nexus_pipeline.defs.resources import default_resources, home, records_of
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.settings.names import DEFAULT_FILE
from nexus_pipeline.steps.records import MadeRecord

if TYPE_CHECKING:
    from nexus_pipeline.steps.report import EvaluationReport

MODEL = "nexusformer"


def tasks_of(project: ProjectConfig, task: str | None) -> tuple[str, ...]:
    """The tasks a command is about."""
    return (task,) if task else project.task_names


def comparisons(project: ProjectConfig, task: str | None = None) -> Answer:
    """Our model beside every baseline on the test split, metric with its 95 % interval."""
    reports = {name: _report(project, name) for name in tasks_of(project, task)}
    facts = {name: _comparison_facts(report) for name, report in reports.items()}
    shown = (comparison(project, name, report) for name, report in reports.items())
    return Answer(facts, tuple(shown))


def _report(project: ProjectConfig, task: str) -> "EvaluationReport":
    from nexus_pipeline.steps.evaluation import evaluation_folder
    from nexus_pipeline.steps.report import METRICS_FILE, EvaluationReport

    path = evaluation_folder(project, task) / METRICS_FILE
    return EvaluationReport.model_validate_json(path.read_text(encoding="utf-8"))


def _comparison_facts(report: "EvaluationReport") -> dict[str, Any]:
    models = {
        model.name: {
            "test": model.test[0].model_dump(mode="json"),
            "validation": model.validation[0].model_dump(mode="json"),
            "seconds": model.cost.seconds,
        }
        for model in report.models
    }
    return {"metric": report.metric, "better": report.direction.value, "models": models}


def comparison(project: ProjectConfig, task: str, report: "EvaluationReport") -> Table:
    """One task's table."""
    better = "higher" if report.direction.value == "max" else "lower"
    title = f"{project.project_name}/{task}: {report.metric} ({better} is better)"
    table = Table(title=title, title_justify="left")
    for heading in ("model", "test", "95 % interval", "validation", "seconds"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for model in report.models:
        test, validation, spent = model.test[0], model.validation[0], model.cost.seconds
        table.add_row(
            model.name,
            f"{test.estimate:.4f}",
            f"{test.low:.4f} to {test.high:.4f}",
            f"{validation.estimate:.4f}",
            "" if spent is None else f"{spent:.1f}",
            style="bold" if model.name == MODEL else None,
        )
    return table


def summary(project: ProjectConfig, task: str | None = None) -> Answer:
    """Comparison, paths, registered versions, and how to open the pages."""
    compared = comparisons(project, task)
    places = {name: _places(project, name) for name in tasks_of(project, task)}
    log = _short(home(project) / "logs" / f"{project.project_name}.log", project.root)
    facts = {name: {**compared.facts[name], **places[name]} for name in places}
    lines = [line for name, place in places.items() for line in _told_places(name, place)]
    pages = "pages: nexusflow ui   (Dagster and MLflow, on this machine only)"
    return Answer({"tasks": facts, "log": log}, (*compared.shown, *lines, f"log: {log}", pages))


def _places(project: ProjectConfig, task: str) -> dict[str, Any]:
    from nexus_pipeline.steps.champion import model_name, read_promotion

    records, promotion = records_of(project), read_promotion(project, task)

    def location(kind: str) -> str | None:
        record = records.read(f"{project.project_name}/{kind}/{task}")
        return record.stored.location if record else None

    return {
        "artifact": location("optimized"),
        "report": location("evaluated"),
        "registered": model_name(project, task),
        "version": promotion.version,
        "champion": promotion.champion_after,
        "reason": promotion.reason,
    }


def _told_places(task: str, place: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"{task}: artifact {place['artifact'] or 'not made'}",
        f"{task}: report   {place['report'] or 'not made'}",
        f"{task}: model    {place['registered']} version {place['version']}, "
        f"champion {place['champion'] or 'none'} ({place['reason']})",
    )


def validation(project: ProjectConfig, file: Path | None = None) -> Answer:
    """Accepted and quarantined rows per table, and each problem with the line to change."""
    from nexus_pipeline.expect.accepted import read_accepted
    from nexus_pipeline.expect.unexpected import find_unexpected
    from nexus_pipeline.propose.problems import find_problems

    records, tables = records_of(project), {}
    for dataset in project.datasets:
        record = records.read(f"{project.project_name}/validated/{dataset.table}")
        if record:
            tables[dataset.table] = _validation_facts(record)
    store: Any = default_resources(project)["store"]
    said_in = file or project.root / DEFAULT_FILE
    problems = find_problems(project, store.store(), said_in)
    accepted = read_accepted(project)
    unexpected = find_unexpected(project, store.store(), accepted.values())
    facts = {
        "tables": tables,
        "problems": [problem.model_dump(mode="json") for problem in problems],
        "accepted": list(accepted),
        "unexpected": [problem.model_dump(mode="json") for problem in unexpected],
    }
    told = [problem.told(said_in.name) for problem in problems]
    told += [problem.told() for problem in unexpected]
    if not accepted:
        told.append("no table has accepted expectations; nexusflow expect proposes them")
    return Answer(facts, (_validation_table(project, tables), *told))


def _validation_facts(record: MadeRecord) -> dict[str, Any]:
    facts = record.stored.facts
    return {
        "raw": facts["raw_rows"],
        "accepted": record.stored.rows,
        "quarantined": facts["quarantined"],
        "why": record.shown.get("rejected", []),
    }


def _validation_table(project: ProjectConfig, tables: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=f"{project.project_name}: validated tables", title_justify="left")
    for heading in ("table", "raw", "accepted", "quarantined", "why"):
        table.add_column(heading, justify="left" if heading in {"table", "why"} else "right")
    for name, row in tables.items():
        why = "; ".join(
            f"{reason['reason']}: {reason['rows']}, such as {reason['example']}"
            for reason in row["why"]
        )
        counts = (str(row[kind]) for kind in ("raw", "accepted", "quarantined"))
        table.add_row(name, *counts, why)
    return table


def _short(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
