"""The model that answers: loaded from a file or the registry, replaced while requests go on.

A new model is loaded beside the old one and takes its place in one assignment. One that cannot be
loaded leaves the old one in place, and is reported until something else can be loaded.
"""

import hashlib
import logging
import tempfile
import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from nexus_model.artifact.archive import open_archive
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import ArtifactError, ConfigurationError, NexusError, Record
from nexus_model.sentences.find_reader import TextModel
from nexus_model.serve.predictor import Predictor, load_model
from nexus_pipeline.steps.registry import fetch_artifact

LOG = logging.getLogger("nexusflow.serve")
ALIAS = "champion"


class Loaded(NamedTuple):
    """A predictor and what it came from."""

    predictor: Predictor
    version: str
    sha256: str
    manifest: dict[str, Any]

    @property
    def artifact(self) -> NexusFlowModelArtifact:
        """The model file's content."""
        return self.predictor.artifact


class Refused(Record):
    """A model that was found and could not take over."""

    version: str
    reason: str


class State(NamedTuple):
    """Both facts at one moment; replaced whole."""

    current: Loaded
    refused: Refused | None


class ModelSource(Protocol):
    """Where models come from."""

    def newest(self) -> str:
        """A name that changes when there is another model.

        Raises:
            NexusError: nobody can say.
        """

    def load(self, version: str) -> Loaded:
        """The model of that name.

        Raises:
            NexusError: it cannot be loaded.
        """


class FileSource:
    """One ``.nxf`` file; replacing it gives a new version, named by its hash."""

    def __init__(self, path: Path, text_model: TextModel | None = None) -> None:
        self.path, self.text_model = path, text_model

    def newest(self) -> str:
        try:
            found = self.path.stat()
        except OSError as error:
            raise ArtifactError(f"{self.path}: no such file") from error
        return f"{found.st_mtime_ns}-{found.st_size}-{found.st_ino}"

    def load(self, version: str) -> Loaded:  # noqa: ARG002 - whatever the file holds now
        return loaded(self.path, text_model=self.text_model)


class RegisteredSource:
    """The version of a registered model that the alias names."""

    def __init__(self, name: str, uri: str, text_model: TextModel | None = None) -> None:
        self.name, self.uri, self.text_model = name, uri, text_model

    def newest(self) -> str:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            found = MlflowClient(tracking_uri=self.uri).get_model_version_by_alias(self.name, ALIAS)
        except MlflowException as error:
            told = f"model {self.name!r} has no {ALIAS} in the registry"
            raise ConfigurationError(told) from error
        return str(found.version)

    def load(self, version: str) -> Loaded:
        with tempfile.TemporaryDirectory(prefix="nexus-serve-") as folder:
            path = fetch_artifact(self.name, version, self.uri, Path(folder))
            return loaded(path, version, self.text_model)


def loaded(path: Path, version: str | None = None, text_model: TextModel | None = None) -> Loaded:
    """A file's model, checked and warmed.

    Raises:
        ArtifactError: the file is damaged, foreign or too new.
        ConfigurationError: the sentence model of its texts is missing, or another.
    """
    predictor = load_model(path, text_model=text_model)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = open_archive(path).manifest.model_dump(mode="json")
    # Preparing the database and the first pass through it take longest.
    _ = predictor.staged.takes_several
    return Loaded(predictor, version or digest[:12], digest, manifest)


class LiveModel:
    """Holds the model that answers, and looks for another in a thread of its own."""

    def __init__(self, source: ModelSource, poll_s: float) -> None:
        self.source, self.poll_s = source, poll_s
        self._seen = source.newest()
        self.state = State(source.load(self._seen), None)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-watch", daemon=True)

    @property
    def current(self) -> Loaded:
        """The model that answers."""
        return self.state.current

    @property
    def refused(self) -> Refused | None:
        """The newer model that could not take over, if any."""
        return self.state.refused

    def start(self) -> None:
        """Begin to look for other models."""
        self._thread.start()

    def stop(self) -> None:
        """Look no further."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self.poll_s + 5)

    def look(self) -> bool:
        """Look once; whether another model took over."""
        newest = self._seen
        try:
            newest = self.source.newest()
            if newest == self._seen:
                return False
            found = self.source.load(newest)
            same_task(self.current.artifact, found.artifact)
        except NexusError as error:
            # Looked at once; it is loaded again when it changes.
            self._seen = newest
            self._refuse(Refused(version=newest, reason=str(error)[:300]))
            return False
        self._seen, self.state = newest, State(found, None)
        LOG.info("model %s takes over (sha256 %s)", found.version, found.sha256)
        return True

    def _refuse(self, refused: Refused) -> None:
        if refused != self.refused:
            LOG.error("model %s is not taken: %s", refused.version, refused.reason)
        self.state = self.state._replace(refused=refused)

    def _watch(self) -> None:
        warnings.simplefilter("ignore")
        while not self._stop.wait(self.poll_s):
            self.look()


def same_task(old: NexusFlowModelArtifact, new: NexusFlowModelArtifact) -> None:
    """Refuse a model that would answer another question at the same address.

    Raises:
        ArtifactError: task or keys differ.
    """
    for what, was, now in (
        ("task", old.recipe.task.name, new.recipe.task.name),
        ("kind", old.recipe.task.kind, new.recipe.task.kind),
        ("key", old.recipe.entity.primary_key, new.recipe.entity.primary_key),
    ):
        if was != now:
            raise ArtifactError(f"the new model's {what} is {now!r}, the server's is {was!r}")
