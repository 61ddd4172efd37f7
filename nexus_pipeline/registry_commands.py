"""Commands about registered models: list, compare, promote, rollback, prune."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nexus_pipeline.answer import Answer
from nexus_pipeline.settings.names import DEFAULT_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from nexus_pipeline.project import ProjectConfig
    from nexus_pipeline.steps.registry import Difference, RegisteredVersion

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
    """What changed between two versions: data, code, configuration, metrics.

    Example: nexusflow models compare f1-dnf 1 champion
    """
    from nexus_pipeline.steps.registry import compare as compared

    found = compared(_client(_load(project)), name, first, second)
    return Answer(found.model_dump(mode="json"), (_told(found),))


def promote(
    name: Name,
    version: Annotated[str, typer.Argument(help="version or alias")],
    project: ProjectFile = Path(DEFAULT_FILE),
) -> Answer:
    """Make a version champion; refused unless the gate of that very version was open.

    Example: nexusflow models promote f1-dnf 2
    """
    from nexus_pipeline.steps.registry import promote as promoted

    return _answer(promoted(_client(_load(project)), name, version))


def rollback(name: Name, project: ProjectFile = Path(DEFAULT_FILE)) -> Answer:
    """Make the version champion again that the present champion took over from.

    Example: nexusflow models rollback f1-dnf
    """
    from nexus_pipeline.steps.registry import roll_back

    return _answer(roll_back(_client(_load(project)), name))


def prune(
    project: ProjectFile = Path(DEFAULT_FILE),
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="newest versions of each model that stay")
    ] = None,
) -> Answer:
    """Remove old versions and their files; those with an alias and a rollback's way back stay.

    Example: nexusflow models prune --keep 20
    """
    from nexus_pipeline.steps.retention import remove_old_versions

    config = _load(project)
    client = _client(config)
    kept = keep or config.automation.keep_versions
    known = {model.name for model in client.search_registered_models()}
    done = [remove_old_versions(client, name, kept) for name in _names(config) if name in known]
    lines = [f"{one.name}: removed {', '.join(one.removed) or 'none'}" for one in done]
    facts = [one.model_dump(mode="json") for one in done]
    return Answer(facts, tuple(lines or ["no version is registered; next: nexusflow train"]))


def _answer(version: "RegisteredVersion") -> Answer:
    return Answer(version.model_dump(mode="json"), (_line(version),))


def _load(file: Path) -> "ProjectConfig":
    from nexus_pipeline.project import load_project

    return load_project(file)


def _client(project: "ProjectConfig") -> "MlflowClient":
    from nexus_pipeline.defs.resources import default_resources

    client: MlflowClient = default_resources(project)["tracker"].tracker().client  # type: ignore[attr-defined]
    return client


def _names(project: "ProjectConfig") -> list[str]:
    from nexus_pipeline.steps.serve_task import model_name

    return [model_name(project, task) for task in project.task_names]


def _line(version: "RegisteredVersion") -> str:
    gate, reason = version.gate, ""
    if gate is not None:
        reason = f"; {gate.metric} {gate.score:.4f} on validation, {gate.reason}"
    commit = version.tags.get("git_commit", "")[:10] or "no commit"
    made = f"{version.created:%Y-%m-%d %H:%M} UTC, {commit}"
    return f"{version.name} {version.version} ({version.state}), {made}{reason}"


def _told(difference: "Difference") -> str:
    lines = [f"{difference.name}: version {difference.first} and version {difference.second}"]
    for part in ("lineage", "metrics", "parameters"):
        changed = getattr(difference, part)
        lines.append(f"{part}: {'the same' if not changed else ''}".rstrip())
        lines += [f"  {key}: {first} -> {second}" for key, (first, second) in changed.items()]
    return "\n".join(lines)


COMMANDS: dict[str, Callable[..., Answer]] = {
    "list": list_models,
    "compare": compare,
    "promote": promote,
    "rollback": rollback,
    "prune": prune,
}
