"""The model registry as a production team uses it: list, promote, roll back.

Aliases say who is champion; tags of a version say where it comes from, whether its gate was open,
and whom it took over from, so that there is always a way back.
"""

import datetime as dt
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nexus_model.schema import ArtifactError, ConfigurationError, Record
from nexus_pipeline.steps.champion import BEFORE, CHAMPION, GATE, move_champion
from nexus_pipeline.steps.gate import Gate
from nexus_pipeline.steps.noting import Note
from nexus_pipeline.tracking import tracking_at
from nexus_pipeline.tracking.server import answering_server

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RegisteredVersion(Record):
    """One version of a registered model; ``gate`` is None until somebody asked for promotion."""

    name: str
    version: str
    aliases: tuple[str, ...]
    created: dt.datetime
    gate: Gate | None
    tags: dict[str, str]
    metrics: dict[str, float]
    parameters: dict[str, str]
    run_id: str = ""

    @property
    def state(self) -> str:
        """Its aliases, or what its gate said.

        >>> now = dt.datetime(2026, 1, 1)
        >>> RegisteredVersion(name="f1-dnf", version="1", aliases=(), created=now, gate=None,
        ...                   tags={}, metrics={}, parameters={}).state
        'not judged'
        """
        if self.aliases:
            return ", ".join(self.aliases)
        if self.gate is None:
            return "not judged"
        return "passed" if self.gate.passed else "refused"


def versions(client: "MlflowClient", name: str) -> tuple[RegisteredVersion, ...]:
    """Every version, the newest first.

    Raises:
        ConfigurationError: no model of this name is registered.
    """
    aliases = _registered(client, name).aliases
    found = client.search_model_versions(f"name = '{name}'")
    described = [_described(client, version, aliases) for version in found]
    return tuple(sorted(described, key=lambda one: int(one.version), reverse=True))


def promote(client: "MlflowClient", name: str, version: str, note: Note) -> RegisteredVersion:
    """Make a version champion whose own gate was open; it is noted before it is done.

    Raises:
        ConfigurationError: there is no such version, or its gate was not open, or the gate was of
            another version or artifact.
    """
    asked = find_version(client, name, version)
    gate, said = asked.gate, f"{name} version {asked.version} is not promoted"
    if gate is None:
        raise ConfigurationError(f"{said}: it has passed no gate; `nexusflow train` judges it")
    if not gate.passed:
        raise ConfigurationError(f"{said}: {gate.reason}")
    if (gate.version, gate.artifact_sha256) != (asked.version, asked.tags.get("artifact_sha256")):
        told = f"its gate is of version {gate.version} and another artifact"
        raise ConfigurationError(f"{said}: {told}")
    champion = _registered(client, name).aliases.get(CHAMPION)
    if champion is None or str(champion) != asked.version:
        before = None if champion is None else str(champion)
        decided = {"reason": f"asked for by a person; {gate.reason}", "decision": "promote"}
        note("promoted", {**_identity(asked), **decided, "champion_before": before or ""})
        move_champion(client, name, asked.version, before)
    return find_version(client, name, version)


def roll_back(client: "MlflowClient", name: str, note: Note) -> RegisteredVersion:
    """Make the version champion that the present champion took over from; noted, then done.

    Raises:
        ConfigurationError: there is no champion, nobody was champion before it, or that version is
            no longer there.
    """
    champion = _registered(client, name).aliases.get(CHAMPION)
    if champion is None:
        raise ConfigurationError(f"{name} has no champion to roll back")
    before = client.get_model_version(name, str(champion)).tags.get(BEFORE)
    if not before:
        raise ConfigurationError(f"{name}: nobody was champion before version {champion}")
    former = find_version(client, name, before)
    decided = {"reason": "asked for by a person", "decision": "roll back"}
    note("rolled_back", {**_identity(former), **decided, "champion_before": str(champion)})
    client.set_registered_model_alias(name, CHAMPION, former.version)
    client.set_model_version_tag(name, str(champion), "rolled_back", _now())
    return find_version(client, name, former.version)


def _identity(version: RegisteredVersion) -> dict[str, str]:
    """What the audit trail says of a version."""
    tags = ("artifact_sha256", "data_fingerprint", "git_commit")
    return {
        "model": version.name,
        "version": version.version,
        **{name: version.tags.get(name, "") for name in tags},
    }


def fetch_artifact(name: str, version: str, uri: str, folder: Path) -> Path:
    """The one ``.nxf`` file of a version, copied from the registry at ``uri`` into ``folder``.

    Raises:
        ArtifactError: it cannot be fetched, or the version does not hold one such file.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    asked = f"models:/{name}/{version}"
    try:
        with answering_server(uri, "nothing was fetched"), tracking_at(uri):
            mlflow.artifacts.download_artifacts(artifact_uri=asked, dst_path=str(folder))
    except (MlflowException, OSError) as error:
        raise ArtifactError(f"{asked} cannot be fetched") from error
    files = sorted(folder.rglob("*.nxf"))
    if len(files) != 1:
        raise ArtifactError(f"{asked} holds {len(files)} .nxf files, not one")
    return files[0]


def _registered(client: "MlflowClient", name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        known = ", ".join(sorted(model.name for model in client.search_registered_models()))
        told = f"known are: {known}" if known else "none is; `nexusflow train` registers one"
        raise ConfigurationError(f"no model {name!r} is registered; {told}") from error


def find_version(client: "MlflowClient", name: str, version: str) -> RegisteredVersion:
    """A version by its number, or by an alias.

    Raises:
        ConfigurationError: there is none.
    """
    found = {one.version: one for one in versions(client, name)}
    by_alias = {alias: one for one in found.values() for alias in one.aliases}
    if version not in found | by_alias:
        told = ", ".join([*sorted(found, key=int), *sorted(by_alias)])
        raise ConfigurationError(f"{name} has no version {version!r}; it has {told}")
    return (found | by_alias)[version]


def _described(client: "MlflowClient", version: Any, aliases: dict[str, Any]) -> RegisteredVersion:
    tags = dict(version.tags)
    gate = tags.pop(GATE, None)
    own = (alias for alias, number in aliases.items() if str(number) == str(version.version))
    run = client.get_run(version.run_id) if version.run_id else None
    return RegisteredVersion(
        name=version.name,
        version=str(version.version),
        aliases=tuple(sorted(own)),
        created=dt.datetime.fromtimestamp(version.creation_timestamp / 1000, dt.UTC),
        gate=None if gate is None else Gate.model_validate_json(gate),
        tags=tags,
        metrics={} if run is None else dict(run.data.metrics),
        parameters={} if run is None else dict(run.data.params),
        run_id=version.run_id or "",
    )


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
