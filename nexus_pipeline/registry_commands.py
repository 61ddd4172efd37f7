"""Commands about registered models: list, compare, promote, rollback, prune."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus_pipeline.answer import Answer
from nexus_pipeline.settings.names import DEFAULT_FILE

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mlflow import MlflowClient

    from nexus_pipeline.project import ProjectConfig
    from nexus_pipeline.steps.registry import RegisteredVersion
    from nexus_pipeline.tracking import Tracker

ProjectFile = Annotated[
    Path, typer.Option("--project", "-p", help="project file", envvar="NEXUS_PROJECT")
]
Name = Annotated[str, typer.Argument(help="registered model, such as f1-dnf")]


def list_models(project: ProjectFile = Path(DEFAULT_FILE)) -> Answer:
    """Every version of the project's models: who is champion, what its gate said.

    Example: nexusflow models list --project nexusflow.yaml
    """
    from nexus_pipeline.steps.registry import versions

    config = _load(project)
    client = _client(config)
    with _asking(config):
        known = {model.name for model in client.search_registered_models()}
        names = [name for name in _names(config) if name in known]
        found = [version for name in names for version in versions(client, name)]
    lines = [_line(version) for version in found]
    facts = [version.model_dump(mode="json") for version in found]
    return Answer(facts, tuple(lines or ["no version is registered; next: nexusflow train"]))


def compare(
    name: Name,
    first: Annotated[str, typer.Argument(help="version or alias")],
    second: Annotated[str, typer.Argument(help="version or alias")],
    project: ProjectFile = Path(DEFAULT_FILE),
) -> Answer:
    """What changed between two versions of one model, as `nexusflow compare` tells of any two.

    Example: nexusflow models compare f1-dnf 1 champion
    """
    return compared_answer(project, *(f"{name}/{version}" for version in (first, second)))


def compared_answer(file: Path, first: str, second: str) -> Answer:
    """What changed between two models, in whatever way they are named."""
    from nexus_pipeline.defs.resources import records_of
    from nexus_pipeline.lineage.compare import compare as compared
    from nexus_pipeline.lineage.compare import told_comparison
    from nexus_pipeline.lineage.trace import find

    config = _load(file)
    records = records_of(config)
    with _asking(config):
        both = [find(config, records, _client(config), asked) for asked in (first, second)]
    found = compared(*both)
    return Answer(found.model_dump(mode="json"), (told_comparison(found),))


def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="version or alias")],
    project: ProjectFile = Path(DEFAULT_FILE),
) -> Answer:
    """Make a version champion; refused unless the gate of that very version was open.

    Example: nexusflow models promote f1-dnf 2
    """
    from nexus_pipeline.lineage.audit import trail_of
    from nexus_pipeline.steps.registry import promote as promoted

    config = _load(project)
    with _asking(config):
        return _answer(promoted(_client(config), name, version, trail_of(config).note))


def rollback(name: Name, project: ProjectFile = Path(DEFAULT_FILE)) -> Answer:
    """Make the version champion again that the present champion took over from.

    Example: nexusflow models rollback f1-dnf
    """
    from nexus_pipeline.lineage.audit import trail_of
    from nexus_pipeline.steps.registry import roll_back

    config = _load(project)
    with _asking(config):
        return _answer(roll_back(_client(config), name, trail_of(config).note))


def prune(
    project: ProjectFile = Path(DEFAULT_FILE),
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="newest versions of each model that stay")
    ] = None,
) -> Answer:
    """Remove old versions and their files; those with an alias and a rollback's way back stay.

    Example: nexusflow models prune --keep 20
    """
    from nexus_pipeline.steps.retention import remove_from_all

    config = _load(project)
    kept = keep or config.automation.keep_versions
    done = remove_from_all(_client(config), _names(config), kept)
    lines = [f"{one.name}: removed {', '.join(one.removed) or 'none'}" for one in done]
    facts = [one.model_dump(mode="json") for one in done]
    return Answer(facts, tuple(lines or ["no version is registered; next: nexusflow train"]))


def _answer(version: "RegisteredVersion") -> Answer:
    return Answer(version.model_dump(mode="json"), (_line(version),))


def _load(file: Path) -> "ProjectConfig":
    from nexus_pipeline.project import load_project

    return load_project(file)


def _asking(project: "ProjectConfig") -> "AbstractContextManager[None]":
    """Inside, a registry that does not answer is told as such."""
    from nexus_pipeline.tracking.server import answering_server

    return answering_server(_tracker(project).uri, "versions are kept there, nothing was changed")


def _tracker(project: "ProjectConfig") -> "Tracker":
    from nexus_pipeline.defs.resources import default_resources

    tracker: Tracker = default_resources(project)["tracker"].tracker()  # type: ignore[attr-defined]
    return tracker


def _client(project: "ProjectConfig") -> "MlflowClient":
    return _tracker(project).client


def _names(project: "ProjectConfig") -> list[str]:
    from nexus_pipeline.steps.champion import model_name

    return [model_name(project, task) for task in project.task_names]


def _line(version: "RegisteredVersion") -> str:
    gate, reason = version.gate, ""
    if gate is not None:
        reason = f"; {gate.metric} {gate.score:.4f} on validation, {gate.reason}"
    commit = version.tags.get("git_commit", "")[:10] or "no commit"
    made = f"{version.created:%Y-%m-%d %H:%M} UTC, {commit}"
    return f"{version.name} {version.version} ({version.state}), {made}{reason}"


COMMANDS: dict[str, Callable[..., Answer]] = {
    "list": list_models,
    "compare": compare,
    "promote": promote,
    "rollback": rollback,
    "prune": prune,
}
