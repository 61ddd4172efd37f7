"""What ``nexusflow serve`` does: its options become settings, a source and a lookup."""

import os
from pathlib import Path

from pydantic import ValidationError

from nexus_model.schema import ConfigurationError
from nexus_pipeline.defs.resources import default_resources, home
from nexus_pipeline.project import load_project
from nexus_pipeline.serving.settings import ServeSettings
from nexus_pipeline.steps.text_model import text_model_place
from nexus_pipeline.storage import Store


def serve_model(
    model: Path | None,
    registered: str | None,
    project: Path | None,
    token_file: Path | None,
    settings: ServeSettings,
) -> None:
    """Serve a file or the champion of a registered model.

    Raises:
        ConfigurationError: the options do not agree, or the extra ``serve`` is not installed.
    """
    try:
        from nexus_pipeline.serving.server import TRACKING, serve, source_of
    except ImportError as error:
        told = f"{error.name} is not installed: pip install 'nexusflow[serve]'"
        raise ConfigurationError(told) from error

    uri, store, place = os.environ.get(TRACKING), None, None
    if project is not None:
        config = load_project(project)
        place = text_model_place(config)
        uri = uri or f"sqlite:///{home(config) / 'mlflow' / 'mlflow.db'}"
        resource = default_resources(config)["store"]
        store = Store(Path(resource.database), threads=1, lock_timeout_s=1.0)  # type: ignore[attr-defined]
    serve(source_of(model, registered, uri, place), settings, token_file, store)


def serve_settings(host: str, port: int, max_body_mb: float, timeout_s: float) -> ServeSettings:
    """The settings of the command line.

    Raises:
        ConfigurationError: one is out of bounds.
    """
    try:
        return ServeSettings(
            host=host, port=port, max_body_bytes=int(max_body_mb * 2**20), timeout_s=timeout_s
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigurationError(f"{problem['loc'][0]}: {problem['msg']}") from error
