"""Retention: registered versions that nobody needs any more, and their files, go."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nexus_model.schema import Record
from nexus_pipeline.steps.champion import BEFORE

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Removal(Record):
    """Versions that were removed from a registered model, the oldest first, and those kept."""

    name: str
    removed: tuple[str, ...]
    kept: tuple[str, ...]


def superfluous(client: "MlflowClient", name: str, keep: int) -> tuple[Any, ...]:
    """Versions beyond the newest ``keep`` that hold no alias and that no rollback returns to."""
    versions = client.search_model_versions(f"name = '{name}'")
    newest = sorted(versions, key=lambda version: int(version.version), reverse=True)
    aliases = {str(number) for number in client.get_registered_model(name).aliases.values()}
    ways_back = {
        version.tags.get(BEFORE, "") for version in versions if str(version.version) in aliases
    }
    needed = aliases | ways_back
    old = [version for version in newest[keep:] if str(version.version) not in needed]
    return tuple(reversed(old))


def remove_old_versions(client: "MlflowClient", name: str, keep: int) -> Removal:
    """Remove superfluous versions: their files first, so that a version never lacks them unseen.

    A removal that is stopped in the middle is finished by the next one. The MLflow run of a
    version, with its metrics, its lineage and its report, stays.
    """
    removed = []
    for version in superfluous(client, name, keep):
        _delete_files(client, version)
        client.delete_model_version(name, version.version)
        removed.append(str(version.version))
    left = client.search_model_versions(f"name = '{name}'")
    kept = sorted((str(version.version) for version in left), key=int)
    return Removal(name=name, removed=tuple(removed), kept=tuple(kept))


def remove_from_all(client: "MlflowClient", names: Iterable[str], keep: int) -> list[Removal]:
    """Remove superfluous versions of those of these models that are registered."""
    known = {model.name for model in client.search_registered_models()}
    return [remove_old_versions(client, name, keep) for name in names if name in known]


def _delete_files(client: "MlflowClient", version: Any) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    # A version made of a logged model has files of its own; any other points into somebody's.
    if str(version.source).startswith("models:/"):
        place = client.get_model_version_download_uri(version.name, version.version)
        get_artifact_repository(place, tracking_uri=client.tracking_uri).delete_artifacts()
