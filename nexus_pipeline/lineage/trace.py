"""From what somebody holds to where it comes from: a version, a ``.nxf`` file, or predictions."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nexus_model.schema import ArtifactError, ConfigurationError
from nexus_pipeline.lineage.model_lineage import LINEAGE, ModelLineage
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.champion import CHAMPION, model_name
from nexus_pipeline.steps.records import Records
from nexus_pipeline.steps.registry import RegisteredVersion, find_version

if TYPE_CHECKING:
    from mlflow import MlflowClient

SHORT = 12


class Found(NamedTuple):
    """What was asked about: its lineage, what predicted with it, and its version if it has one.

    ``lineage`` is None for a version that was registered before lineage was kept.
    """

    asked: str
    lineage: ModelLineage | None
    prediction: dict[str, Any] | None
    version: RegisteredVersion | None


def find(project: ProjectConfig, records: Records, client: "MlflowClient", asked: str) -> Found:
    """What ``asked`` names: ``name``, ``name/3``, ``name@champion``, a ``.nxf`` file, predictions.

    Predictions are named by their file, their folder or their asset.

    Raises:
        ConfigurationError: it names nothing that is known.
        ArtifactError: the lineage beside a file is of another artifact.
    """
    path = Path(asked)
    if path.suffix == ".nxf":
        return Found(asked, beside_artifact(path), None, None)
    place = path if path.is_dir() else path.parent
    if path.exists() and (place / "about.json").is_file():
        return _of_predictions(project, client, asked, place)
    record = records.read(asked)
    if record is not None and "/served/predictions_" in asked:
        return _of_predictions(project, client, asked, project.root / record.stored.location)
    name, version = split_reference(asked)
    found = find_version(client, name, version)
    return Found(asked, read_lineage(client, found), _predicted_by(project, records, found), found)


def split_reference(asked: str) -> tuple[str, str]:
    """Name and version or alias; the champion if neither is said.

    >>> split_reference("f1-dnf/3"), split_reference("f1-dnf@challenger"), split_reference("f1-dnf")
    (('f1-dnf', '3'), ('f1-dnf', 'challenger'), ('f1-dnf', 'champion'))
    """
    for sign in "@/":
        name, found, version = asked.rpartition(sign)
        if found:
            return name, version
    return asked, CHAMPION


def beside_artifact(path: Path) -> ModelLineage:
    """The lineage beside a ``.nxf`` file, which must be of this very file."""
    from nexus_model.artifact.archive import read_archive

    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file")
    place = path.with_name(LINEAGE)
    if not place.is_file():
        raise ConfigurationError(f"{place} is not there; a version is registered with its lineage")
    found = ModelLineage.model_validate_json(place.read_bytes())
    if read_archive(path).content_hash != found.artifact_sha256:
        raise ArtifactError(f"{place} is the lineage of another artifact than {path.name}")
    return found


def read_lineage(client: "MlflowClient", version: RegisteredVersion) -> ModelLineage | None:
    """The lineage that a version was registered with; None if it was before there was any."""
    from mlflow.exceptions import MlflowException

    if not version.run_id:
        return None
    names = {file.path for file in client.list_artifacts(version.run_id)}
    if LINEAGE not in names:
        return None
    with tempfile.TemporaryDirectory(prefix="nexus-lineage-") as folder:
        try:
            path = client.download_artifacts(version.run_id, LINEAGE, folder)
        except MlflowException as error:
            told = f"the lineage of {version.name} version {version.version} cannot be fetched"
            raise ArtifactError(told) from error
        found = ModelLineage.model_validate_json(Path(path).read_bytes())
    if found.artifact_sha256 != version.tags.get("artifact_sha256"):
        raise ArtifactError(
            f"the lineage of {version.name} version {version.version} is not its own"
        )
    return found


def _of_predictions(
    project: ProjectConfig, client: "MlflowClient", asked: str, folder: Path
) -> Found:
    about = json.loads((folder / "about.json").read_bytes())
    tasks = [
        task
        for task in project.task_names
        if folder.resolve().is_relative_to(project.stage_folder("served", task).resolve())
    ]
    if not tasks or "champion" not in about:
        why = about.get("not_predicted", "they are of no task of this project")
        raise ConfigurationError(f"{asked}: no version made these predictions: {why}")
    found = find_version(client, model_name(project, tasks[0]), about["champion"])
    told = {"place": asked, **about}
    return Found(asked, read_lineage(client, found), told, found)


def _predicted_by(
    project: ProjectConfig, records: Records, version: RegisteredVersion
) -> dict[str, Any] | None:
    """The latest predictions, if this version made them."""
    for task in project.task_names:
        record = records.read(f"{project.project_name}/served/predictions_{task}")
        if record and model_name(project, task) == version.name:
            facts = record.stored.facts
            if facts.get("champion") == version.version:
                return {"place": record.stored.location, "rows": record.stored.rows, **facts}
    return None


def facts_of(found: Found) -> dict[str, Any]:
    """What is told as JSON."""
    return {
        "asked": found.asked,
        "prediction": found.prediction,
        "version": None if found.version is None else found.version.model_dump(mode="json"),
        "lineage": None if found.lineage is None else found.lineage.model_dump(mode="json"),
    }


def told_lineage(found: Found) -> str:
    """What is told in words: a tree from the prediction down to files and commit."""
    lines = []
    if found.prediction is not None:
        rows = f", {found.prediction['rows']} rows" if "rows" in found.prediction else ""
        lines.append(f"predictions {found.prediction['place']}{rows}")
    if found.version is not None:
        said = found.version.tags.get("git_commit", "unknown")
        state = f"{found.version.name} version {found.version.version} ({found.version.state})"
        lines.append(f"{'  ' * len(lines)}{state}, evaluated at commit {said[:SHORT]}")
    if found.lineage is None:
        lines.append(f"{'  ' * len(lines)}it was registered before lineage was kept; its tags:")
        tags = found.version.tags if found.version else {}
        return "\n".join([*lines, *(f"    {name}: {value}" for name, value in tags.items())])
    lineage, depth = found.lineage, len(lines)
    parent = lineage.parent_version
    lines.append(
        f"{'  ' * depth}artifact {lineage.artifact_sha256[:SHORT]} of task {lineage.task}, commit "
        f"{_short_commit(lineage.commit)}, {f'after version {parent}' if parent else 'the first'}"
    )
    files = {f"{lineage.project}/raw/{one.table}": one for one in lineage.raw}
    lines += [f"{'  ' * (depth + 1)}{line}" for line in _tree(lineage, files)]
    made = ", ".join(f"{name} {value}" for name, value in lineage.packages.items())
    return "\n".join([*lines, f"made with {made}"])


def _tree(lineage: ModelLineage, files: Mapping[str, Any]) -> Iterator[str]:
    """Assets below one another; what stands there already is only named again."""
    shown: set[str] = set()

    def below(key: str, depth: int) -> Iterator[str]:
        asset, indent = lineage[key], "  " * depth
        if key in shown:
            yield f"{indent}{key} (above)"
            return
        shown.add(key)
        code = asset.code_version or "unknown"
        yield (
            f"{indent}{key}  data {asset.data_version[:SHORT]}, code {code[:SHORT]}, "
            f"config {asset.config_sha256[:SHORT]}, commit {_short_commit(asset.commit)}, "
            f"run {asset.run_id[:8]}"
        )
        if key in files:
            yield (
                f"{indent}  {files[key].file}  sha256 {files[key].sha256}, {files[key].rows} rows"
            )
        for upstream in asset.upstream:
            yield from below(upstream, depth + 1)

    for top in (f"{lineage.project}/optimized/{lineage.task}",):
        yield from below(top, 0)
    rest = f"{lineage.project}/evaluated/{lineage.task}"
    yield from below(rest, 0)


def _short_commit(commit: str) -> str:
    """Twelve signs of a commit, and whether there were changes."""
    sha, plus, changes = commit.partition("+")
    return f"{sha[:SHORT]}{plus}{changes}" if sha else "unknown"
