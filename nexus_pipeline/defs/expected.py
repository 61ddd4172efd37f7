"""Expected: asset checks from accepted files, and the leak checks that stop training.

Without accepted files a project has the leak checks only. All but the pages look where
``nexusflow validate`` looks too.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import dagster as dg

from nexus_pipeline.defs.checks import Outcome, build_check
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.expect.accepted import NOW, AcceptedFile, Severity, read_accepted
from nexus_pipeline.expect.problem import OF_A_TABLE, OF_ALL, Check
from nexus_pipeline.expect.unexpected import find_unexpected
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.records import code_version, fingerprint

LEAK_CHECKS = {
    "no_entity_is_in_two_splits": "samples",
    "no_sample_sees_a_later_row": "index",
    "nothing_tells_the_label_alone": "index",
}


def expected_checks(project: ProjectConfig) -> list[dg.AssetChecksDefinition]:
    """Checks of the accepted tables, of the database if any is accepted, and of every task."""
    accepted, name = read_accepted(project), project.project_name
    checks = [
        build_check(
            project, f"{name}/validated/{table}", _as_accepted(check, [file]), also=_stands_on(file)
        )
        for table, file in accepted.items()
        for check in OF_A_TABLE
    ]
    if accepted:
        files, database = list(accepted.values()), f"{name}/aligned/database"
        also = _stands_on(*files)
        checks += [
            build_check(project, database, _as_accepted(check, files), also=also)
            for check in OF_ALL
        ]
        checks.append(build_check(project, database, _pages(files), blocking=False, also=also))
    return checks + list(leak_checks(project))


def leak_checks(project: ProjectConfig) -> Iterator[dg.AssetChecksDefinition]:
    """Three for each task; a leak that is found stops training."""
    settings = project.validation.model_dump(mode="json")

    def also(room: Workshop) -> str:  # noqa: ARG001 - all are called alike
        return fingerprint(code_version("nexus_pipeline/expect"), settings, {})

    for task in project.task_names:
        for name, asset in LEAK_CHECKS.items():
            key = f"{project.project_name}/aligned/{asset}_{task}"
            yield build_check(project, key, _no_leak(task, name), also=also)


def _no_leak(task: str, name: str) -> Any:
    def fact(room: Workshop) -> Outcome:
        from nexus_pipeline.expect.leaks import future_rows, shared_entities, telling

        finds = dict(zip(LEAK_CHECKS, (shared_entities, future_rows, telling), strict=True))
        excused = {leak.name: leak.reason for leak in room.project.validation.accepted_leaks}
        found = finds[name](room.project, task, room.store)
        known = [leak.name for leak in found if leak.is_arguable and leak.name in excused]
        stopping = [leak for leak in found if leak.name not in known]
        for leak in stopping:
            room.progress.line(f"{task}: {leak.advised()}")
        figures = {
            "told": "\n".join(leak.advised() for leak in stopping),
            "leaks": [leak.model_dump(mode="json") for leak in stopping],
            "accepted": [f"{name}: {excused[name]}" for name in known],
        }
        return Outcome(not stopping, figures)

    fact.__name__ = name
    return fact


def _as_accepted(check: Check, files: Sequence[AcceptedFile]) -> Any:
    """As severe as the worst line that does not hold."""

    def fact(room: Workshop) -> Outcome:
        found = find_unexpected(room.project, room.store, files, (check,))
        for problem in found:
            room.progress.line(problem.told())
        figures = {
            "told": "\n".join(problem.told() for problem in found),
            "problems": [problem.model_dump(mode="json") for problem in found],
        }
        stops = any(problem.severity is Severity.ERROR for problem in found)
        return Outcome(not found, figures, is_warning=not stops)

    fact.__name__ = check.value
    return fact


def _stands_on(*files: AcceptedFile) -> Callable[[Workshop], str]:
    """Accepted files, the tables, and, where a line is about the present, the day."""
    said = {file.table: file.text for file in files}

    def also(room: Workshop) -> str:
        name = room.project.project_name
        tables = (f"{name}/validated/{dataset.table}" for dataset in room.project.datasets)
        behind = (file.expected.newest for file in files)
        day = any(line and line.behind == NOW for line in behind)
        today = {"day": str(dt.datetime.now(dt.UTC).date())} if day else {}
        made = room.records.versions(tables)
        return fingerprint(code_version("nexus_pipeline/expect"), {**said, **today}, made)

    return also


def _pages(files: Sequence[AcceptedFile]) -> Any:
    def great_expectations_agree(room: Workshop) -> Outcome:
        from nexus_pipeline.expect.pages import publish
        from nexus_pipeline.steps.stored import relative

        project = room.project
        folder = project.stage_folder("validated", "expectations", "accepted")
        report = publish(project, room.store, files, folder)
        figures = {
            "expectations": report.expectations,
            "failed": list(report.failed),
            "looked_at": report.looked_at,
            "data_docs": relative(report.docs, project.root),
            "data_docs_url": report.docs.resolve().as_uri(),
        }
        return Outcome(not report.failed, figures)

    return great_expectations_agree
