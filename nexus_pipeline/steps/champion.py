"""Who answers for a task: names, aliases and tags in the registry, and the last decision."""

from typing import Any

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.project import ProjectConfig

CHALLENGER, CHAMPION = "challenger", "champion"
GATE, BEFORE, AUDIT_HEAD = "gate", "champion_before", "audit_head"


class Promotion(Record):
    """What happened to the champion alias."""

    version: str
    champion_before: str | None
    champion_after: str | None
    reason: str


def model_name(project: ProjectConfig, task: str) -> str:
    """Name in the registry."""
    return f"{project.project_name}-{task}"


def read_promotion(project: ProjectConfig, task: str) -> Promotion:
    """The last promotion decision of a task.

    Raises:
        ConfigurationError: there was none.
    """
    path = project.stage_folder("served", task) / "promotion.json"
    if not path.is_file():
        raise ConfigurationError(f"no version of {task} was judged yet; `nexusflow train` does")
    return Promotion.model_validate_json(path.read_text(encoding="utf-8"))


def move_champion(client: Any, name: str, version: str, before: str | None) -> None:
    """Make a version champion and note whom it took over from, so that there is a way back."""
    client.set_model_version_tag(name, version, BEFORE, before or "")
    client.set_registered_model_alias(name, CHAMPION, version)


def champion_of(client: Any, name: str) -> Any | None:
    """The version that is champion now, if any."""
    from mlflow.exceptions import MlflowException

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return client.get_model_version_by_alias(name, CHAMPION) if CHAMPION in aliases else None


def champion_version(project: ProjectConfig, task: str, uri: str) -> str:
    """Which version is champion now, empty while nobody is."""
    from mlflow import MlflowClient

    found = champion_of(MlflowClient(tracking_uri=uri), model_name(project, task))
    return "" if found is None else str(found.version)


def champion_identity(project: ProjectConfig, task: str, uri: str) -> dict[str, str]:
    """Who is champion now: another registry counts its versions from 1 again."""
    from mlflow import MlflowClient

    found = champion_of(MlflowClient(tracking_uri=uri), model_name(project, task))
    if found is None:
        return {"champion": ""}
    artifact = found.tags.get("artifact_sha256", "")
    return {"champion": str(found.version), "champion_artifact": artifact}
