"""Start a server: where the model comes from, what it may take, and how it stops."""

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from nexus_model.schema import ConfigurationError, NexusError
from nexus_model.sentences.find_reader import TextModel
from nexus_pipeline.serving.app import Service, create_app
from nexus_pipeline.serving.live_model import FileSource, LiveModel, ModelSource, RegisteredSource
from nexus_pipeline.serving.lookup import Lookup
from nexus_pipeline.serving.settings import ServeSettings, check_exposure, read_token
from nexus_pipeline.storage import Store

TRACKING = "MLFLOW_TRACKING_URI"


def source_of(
    model: Path | None,
    registered: str | None,
    uri: str | None,
    text_model: TextModel | None = None,
) -> ModelSource:
    """Where the model comes from: exactly one of a file and a registered name.

    Raises:
        ConfigurationError: both or neither are given, or no registry is known.
    """
    if (model is None) == (registered is None):
        raise ConfigurationError("give either --model FILE.nxf or --registered NAME")
    if model is not None:
        return FileSource(model, text_model)
    if uri is None:
        raise ConfigurationError(f"set {TRACKING}, or --project whose registry holds the model")
    # Read when the package is imported, so it must be said before.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["DO_NOT_TRACK"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    return RegisteredSource(str(registered), uri, text_model)


def serve(
    source: ModelSource,
    settings: ServeSettings,
    token_file: Path | None = None,
    store: Store | None = None,
) -> None:
    """Serve until told to stop; requests under way are finished.

    Raises:
        NexusError: the model cannot be loaded, or what is asked for is not safe.
    """
    import torch
    import uvicorn

    token = read_token(token_file)
    check_exposure(settings, token)
    torch.set_num_threads(1)
    live = LiveModel(source, settings.poll_s)
    lookup = None if store is None else Lookup(store)
    service = Service(live, settings, lookup)
    log_to_stderr()
    if lookup is not None:
        # So that no client waits for it; a store that cannot be read now is read when asked.
        with suppress(NexusError):
            lookup.kept.resident(live.current)
    config = uvicorn.Config(
        create_app(service, token),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.drain_s),
    )
    # What stopped uvicorn is raised again when it has ended; it has been seen to.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run()


def log_to_stderr() -> None:
    """One line per request, and uvicorn's own; tracebacks stay here."""
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    for name in ("nexusflow.serve", "uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [shown], False
        logger.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").handlers = []
    logging.getLogger("uvicorn.error").propagate = True
