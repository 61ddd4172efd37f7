"""What a run ends with on the terminal: the comparison, where things are, how to look at them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from nexus_pipeline.defs.resources import default_resources, home
from nexus_pipeline.project import DEFAULT_FILE, ProjectConfig
from nexus_pipeline.steps.records import MadeRecord, Records

if TYPE_CHECKING:
    from nexus_pipeline.steps.report import EvaluationReport

MODEL = "nexusformer"


def tasks_of(project: ProjectConfig, task: str | None) -> tuple[str, ...]:
    """The tasks a command is about."""
    return (task,) if task else project.task_names


def print_comparison(project: ProjectConfig, task: str | None = None) -> None:
    """Our model beside every baseline on the test split, metric with its 95 % interval."""
    from nexus_pipeline.steps.evaluate_task import evaluation_folder
    from nexus_pipeline.steps.report import METRICS_FILE, EvaluationReport

    console = Console()
    for name in tasks_of(project, task):
        path = evaluation_folder(project, name) / METRICS_FILE
        report = EvaluationReport.model_validate_json(path.read_text(encoding="utf-8"))
        console.print(comparison(project, name, report))


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


def print_summary(project: ProjectConfig, task: str | None = None) -> None:
    """Comparison, paths, registered versions, reuse, and how to open the pages."""
    console = Console(soft_wrap=True)
    print_comparison(project, task)
    records = Records(project.root / "data" / "records" / project.project_name)
    for name in tasks_of(project, task):
        for line in _places(project, name, records):
            console.print(line, highlight=False)
    log = home(project) / "logs" / f"{project.project_name}.log"
    console.print(f"log: {_short(log, project.root)}", highlight=False)
    console.print(
        "pages: nexusflow ui   (Dagster and MLflow, on this machine only)", highlight=False
    )


def _places(project: ProjectConfig, task: str, records: Records) -> list[str]:
    from nexus_pipeline.steps.serve_task import model_name, read_promotion

    def location(kind: str) -> str:
        record = records.read(f"{project.project_name}/{kind}")
        return record.stored.location if record else "not made"

    promotion = read_promotion(project, task)
    champion = promotion.champion_after or "none"
    return [
        f"{task}: artifact {location(f'optimized/{task}')}",
        f"{task}: report   {location(f'evaluated/{task}')}",
        f"{task}: model    {model_name(project, task)} version {promotion.version}, "
        f"champion {champion} ({promotion.reason})",
    ]


def print_validation(project: ProjectConfig, file: Path | None = None) -> None:
    """Accepted and quarantined rows per table, and each problem with the line to change."""
    from nexus_pipeline.propose.problems import find_problems

    console = Console(soft_wrap=True)
    table = Table(title=f"{project.project_name}: validated tables", title_justify="left")
    for heading in ("table", "raw", "accepted", "quarantined", "why"):
        table.add_column(heading, justify="left" if heading in {"table", "why"} else "right")
    records = Records(project.root / "data" / "records" / project.project_name)
    for dataset in project.datasets:
        record = records.read(f"{project.project_name}/validated/{dataset.table}")
        if record:
            table.add_row(*_validation_row(dataset.table, record))
    console.print(table)
    store: Any = default_resources(project)["store"]
    said_in = file or project.root / DEFAULT_FILE
    for problem in find_problems(project, store.store(), said_in):
        console.print(problem.told(said_in.name), highlight=False, markup=False)


def _validation_row(table: str, record: MadeRecord) -> tuple[str, ...]:
    facts = record.stored.facts
    why = "; ".join(
        f"{reason['reason']}: {reason['rows']}, such as {reason['example']}"
        for reason in record.shown.get("rejected", [])
    )
    raw, rejected = str(facts["raw_rows"]), str(facts["quarantined"])
    return table, raw, str(record.stored.rows), rejected, why


def _short(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        return str(path)
