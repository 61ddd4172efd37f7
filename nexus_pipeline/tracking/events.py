"""What is told to a tracking server, as plain events: sent at once, or kept and sent later alike.

Everything that says when it happened carries its own moment, so that an event that is sent late
leaves what it would have left. Every event may be sent twice: MLflow keeps one point for a metric
of the same name, value, step and moment, one value for a parameter, one input for a digest.
"""

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mlflow import MlflowClient

Event = dict[str, Any]
Status = Literal["FINISHED", "FAILED", "KILLED"]
# What a tracking server takes at once, and how long a text may be.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_PARAM_LENGTH, _DIGEST_LENGTH = 6000, 36


def now() -> int:
    """This moment as MLflow counts: milliseconds since 1970."""
    return int(time.time() * 1000)


def params_event(params: Mapping[str, object]) -> Event:
    """Parameters; a nested mapping gives names such as ``optimizer.lr``.

    >>> params_event({"optimizer": {"lr": 0.1}})["entries"]
    [['optimizer.lr', '0.1']]
    """
    entries = [[name, str(value)[:_PARAM_LENGTH]] for name, value in _flat(params)]
    return {"kind": "params", "entries": entries}


def metrics_event(metrics: Mapping[str, float], step: int | None) -> Event:
    """Numbers of this moment."""
    at = now()
    entries = [[name, float(value), at, step or 0] for name, value in metrics.items()]
    return {"kind": "metrics", "entries": entries, "stepped": step is not None}


def tags_event(tags: Mapping[str, str]) -> Event:
    """Tags, which replace former ones."""
    return {"kind": "tags", "entries": [[name, value] for name, value in tags.items()]}


def input_event(name: str, digest: str, source: str) -> Event:
    """What was read."""
    return {"kind": "input", "name": name, "digest": digest, "source": source}


def artifact_event(path: Path, folder: str | None) -> Event:
    """A file, or all files of a folder."""
    return {"kind": "artifact", "path": str(path), "folder": folder}


def terminated_event(status: Status) -> Event:
    """The end of a run."""
    return {"kind": "terminated", "status": status, "at": now()}


def send(client: "MlflowClient", run_id: str, event: Event) -> None:
    """Tell the server one event of a run it knows."""
    match event["kind"]:
        case "params" | "metrics" | "tags":
            _send_entries(client, run_id, event)
        case "input":
            _send_input(client, run_id, event)
        case "artifact":
            path, folder = event["path"], event["folder"]
            log = client.log_artifacts if Path(path).is_dir() else client.log_artifact
            log(run_id, path, folder)
        case "reopened":
            client.update_run(run_id, status="RUNNING")
        case "terminated":
            client.set_terminated(run_id, event["status"], event["at"])
        case other:
            raise ValueError(f"no event of kind {other!r}")


def _send_entries(client: "MlflowClient", run_id: str, event: Event) -> None:
    from mlflow.entities import Metric, Param, RunTag

    kind, size = {
        "params": (Param, _PARAMS_AT_ONCE),
        "metrics": (Metric, _METRICS_AT_ONCE),
        "tags": (RunTag, _PARAMS_AT_ONCE),
    }[event["kind"]]
    entries = [kind(*entry) for entry in event["entries"]]
    for part in _parts(entries, size):
        client.log_batch(run_id, **{event["kind"]: part})


def _send_input(client: "MlflowClient", run_id: str, event: Event) -> None:
    """MLflow keeps 36 characters of a digest; a tag keeps the rest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = event["digest"]
    dataset = Dataset(
        name=event["name"],
        digest=digest[:_DIGEST_LENGTH],
        source_type="local",
        source=json.dumps({"uri": event["source"]}),
    )
    tags = [InputTag("mlflow.data.context", "training"), InputTag("digest", digest)]
    client.log_inputs(run_id, [DatasetInput(dataset, tags)])


def _flat(params: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _parts(entries: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
