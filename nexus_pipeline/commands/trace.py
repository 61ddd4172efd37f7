"""Commands that tell where something comes from: lineage, compare, tracking, audit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nexus_pipeline.answer import Answer
from nexus_pipeline.commands.options import HERE, ProjectOption
from nexus_pipeline.registry_commands import compared_answer

if TYPE_CHECKING:
    from pathlib import Path

    from nexus_pipeline.project import ProjectConfig
    from nexus_pipeline.tracking import Tracker

Model = Annotated[
    str, typer.Argument(help="name, name/3, name@champion, a .nxf file, or predictions")
]


def lineage(model: Model, project: ProjectOption = HERE) -> Answer:
    """Walk from a prediction or a model to the hashes of the raw files and the commit.

    Example: nexusflow lineage f1-dnf@champion
    """
    from nexus_pipeline.defs.resources import records_of
    from nexus_pipeline.lineage.trace import facts_of, find, told_lineage
    from nexus_pipeline.tracking.server import answering_server

    config, tracker = _opened(project)
    with answering_server(tracker.uri, "a .nxf file has its lineage beside it"):
        found = find(config, records_of(config), tracker.client, model)
    return Answer(facts_of(found), (told_lineage(found),))


def compare(first: Model, second: Model, project: ProjectOption = HERE) -> Answer:
    """What changed between two models: raw files, configuration, code, packages, metrics.

    Example: nexusflow compare f1-dnf/3 f1-dnf/5
    """
    return compared_answer(project, first, second)


def sync(
    project: ProjectOption = HERE,
    *,
    moved: Annotated[
        bool, typer.Option("--moved", help="also what was meant for another address")
    ] = False,
) -> Answer:
    """Send what was kept on disk while the tracking server was down; each run once.

    Example: nexusflow tracking sync --project nexusflow.yaml
    """
    from nexus_model.schema import NexusError
    from nexus_pipeline.tracking.replay import sync as replayed

    _, tracker = _opened(project)
    found = replayed(tracker, moved=moved)
    lines = [f"{found.server}: {found.runs} runs, {found.events} events sent"]
    if found.torn:
        lines.append(f"{found.torn} lines that a crash cut off are lost")
    if found.under_way:
        lines.append(f"{len(found.under_way)} runs are under way and wait")
    for run, server in found.elsewhere.items():
        lines.append(f"{run} is for {server}: set MLFLOW_TRACKING_URI, or say --moved")
    if found.refused:
        told = "\n".join(f"  {run}: {reason}" for run, reason in found.refused.items())
        raise NexusError("\n".join([*lines, f"the server refused, and these still wait:\n{told}"]))
    return Answer(found.model_dump(mode="json"), tuple(lines))


def verify(project: ProjectOption = HERE) -> Answer:
    """Check the audit trail: every line, their order, their end, and the registry's heads of it.

    Example: nexusflow audit verify --project nexusflow.yaml
    """
    from nexus_pipeline.lineage.audit import AuditError, trail_of
    from nexus_pipeline.lineage.verify import verify as verified

    config, tracker = _opened(project)
    kept, notes = _kept_heads(config, tracker)
    found = verified(trail_of(config), kept)
    if not found.is_whole:
        raise AuditError("\n".join([f"{found.file} was changed:", *found.problems, *found.notes]))
    told = f"{found.file}: {found.lines} lines, whole; {len(kept)} registered versions agree"
    facts = {**found.model_dump(mode="json"), "registered": kept, "not_compared": notes}
    return Answer(facts, (told, *found.notes, *notes))


def show(
    project: ProjectOption = HERE,
    what: Annotated[str | None, typer.Option(help="made, trained, gate, promoted, ...")] = None,
    last: Annotated[int, typer.Option(help="how many, the newest")] = 20,
) -> Answer:
    """The newest lines of the audit trail: who, when, what, and why.

    Example: nexusflow audit show --what promoted
    """
    from nexus_pipeline.lineage.audit import trail_of
    from nexus_pipeline.lineage.verify import read_trail

    config, _ = _opened(project)
    entries = [one for one in read_trail(trail_of(config)) if what in {None, one.get("what")}]
    shown = entries[-last:]
    return Answer(shown, tuple(_line(one) for one in shown) or ("nothing was noted",))


def _line(entry: dict[str, Any]) -> str:
    about = entry.get("key", "")
    if "model" in entry:
        about = f"{entry['model']} {entry.get('version', '')}".rstrip()
    parts = [entry.get("decision"), entry.get("reason"), entry.get("data_version", "")[:12]]
    told = "; ".join(str(part) for part in parts if part)
    who = f"{entry.get('user')}@{entry.get('host')}"
    return f"{entry.get('number')} {entry.get('at')} {who} {entry.get('what')} {about}: {told}"


def _kept_heads(config: "ProjectConfig", tracker: "Tracker") -> tuple[dict[str, str], list[str]]:
    """Where the trail stood when each version was registered, as the registry says."""
    from nexus_pipeline.steps.champion import AUDIT_HEAD, model_name
    from nexus_pipeline.tracking.server import ServerDownError, answering_server

    names, kept = [model_name(config, task) for task in config.task_names], {}
    try:
        with answering_server(tracker.uri, ""):
            for name in names:
                for version in tracker.client.search_model_versions(f"name = '{name}'"):
                    if AUDIT_HEAD in version.tags:
                        kept[f"{name} version {version.version}"] = version.tags[AUDIT_HEAD]
    except ServerDownError as error:
        return {}, [f"not compared with registered versions: {error}"]
    return kept, []


def _opened(file: "Path") -> "tuple[ProjectConfig, Tracker]":
    from nexus_pipeline.defs.resources import default_resources
    from nexus_pipeline.project import load_project

    config = load_project(file)
    tracker: Tracker = default_resources(config)["tracker"].tracker()  # type: ignore[attr-defined]
    return config, tracker


TRACKING: dict[str, Callable[..., Answer]] = {"sync": sync}
AUDIT: dict[str, Callable[..., Answer]] = {"verify": verify, "show": show}
