"""Weights & Biases as a second log: the same events in a run folder of its own.

Offline unless WANDB_MODE says otherwise: nothing leaves the machine; ``wandb sync`` sends a folder.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nexus_model.schema import ConfigurationError
from nexus_pipeline.tracking.events import Event


class WandbLog:
    """Takes events and writes them to one W&B run."""

    def __init__(self, run: Any) -> None:
        self.run = run

    @property
    def folder(self) -> Path:
        """Where the run's files are."""
        return Path(self.run.dir)

    def take(self, event: Event) -> None:
        """Write one event; what MLflow alone knows of, such as inputs, becomes the summary's."""
        match event["kind"]:
            case "params":
                self.run.config.update(dict(event["entries"]), allow_val_change=True)
            case "metrics":
                self._metrics(event)
            case "tags":
                self.run.summary.update(dict(event["entries"]))
            case "input":
                told = {"digest": event["digest"], "source": event["source"]}
                self.run.summary.update({f"input/{event['name']}": told})
            case "artifact":
                self._copy(Path(event["path"]), event["folder"])

    def _metrics(self, event: Event) -> None:
        found = {name: value for name, value, _, _ in event["entries"]}
        if event["stepped"]:
            # W&B's own step may never go back; ours is a column.
            self.run.log({**found, "step": event["entries"][0][3] if event["entries"] else 0})
        else:
            self.run.summary.update(found)

    def _copy(self, path: Path, folder: str | None) -> None:
        place = self.folder / (folder or "") / path.name
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
        named = place / "*" if path.is_dir() else place
        self.run.save(str(named), base_path=str(self.folder), policy="now")


@contextmanager
def wandb_log(folder: Path, project: str, name: str, key: str) -> Iterator[WandbLog]:
    """A W&B run that is open inside the block; it fails if the block does.

    ``folder`` is called ``wandb``: that is where W&B puts runs.

    Raises:
        ConfigurationError: the package is not installed, or its server refuses.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ConfigurationError(
            "mlops.logging_provider is wandb, which is not installed: pip install nexusflow[wandb]"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for variable, part in (("CACHE", "cache"), ("CONFIG", "config"), ("DATA", "data")):
        os.environ.setdefault(f"WANDB_{variable}_DIR", str(folder / part))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    quiet = wandb.Settings(
        silent=True,
        console="off",
        x_disable_stats=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
    try:
        run = wandb.init(
            project=project, name=name, id=key, dir=str(folder.parent), resume="allow",
            mode=_mode(), save_code=False, settings=quiet,
        )  # fmt: skip
    except wandb.errors.Error as error:
        raise ConfigurationError(
            f"Weights & Biases: {error}; WANDB_MODE=offline needs no server"
        ) from error
    code = 1
    try:
        yield WandbLog(run)
        code = 0
    finally:
        run.finish(exit_code=code)


def _mode() -> Any:
    return os.environ.get("WANDB_MODE", "offline")
