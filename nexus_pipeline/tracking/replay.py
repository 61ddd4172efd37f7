"""Replay: what waited for the tracking server is sent, in its order, each run once.

How far each run was sent is noted after every event, so that a replay that is stopped goes on; the
one event that was under way may be sent twice, which leaves nothing twice (see ``events``).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from nexus_model.schema import Record
from nexus_pipeline.tracking.delivery import NotTwice
from nexus_pipeline.tracking.events import Event, send
from nexus_pipeline.tracking.server import answering_server, shown_address
from nexus_pipeline.tracking.tracker import DAGSTER_RUN, RUN_KEY, Tracker
from nexus_pipeline.tracking.waiting import (
    KeptEvents,
    forget,
    forget_orphans,
    located,
    note_sent,
    read_kept,
    sent_already,
    taken,
    waiting_files,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


class Synced(Record):
    """What a replay sent, and what still waits and why.

    ``torn`` are lines that a crash cut off; what they would have said is not known.
    """

    server: str
    runs: int
    events: int
    torn: int
    under_way: tuple[str, ...]
    elsewhere: dict[str, str]
    refused: dict[str, str]


def sync(tracker: Tracker, *, moved: bool = False) -> Synced:
    """Send everything that waits; a run whose process is gone is ended as KILLED.

    With ``moved``, also what was meant for a server at another address.

    Raises:
        ServerDownError: the server does not answer; what it has taken is not sent again.
    """
    folder = tracker.waiting
    forget_orphans(folder)
    here, done = shown_address(tracker.uri), Synced(
        server=shown_address(tracker.uri),
        runs=0, events=0, torn=0, under_way=(), elsewhere={}, refused={},
    )  # fmt: skip
    for path in sorted(waiting_files(folder), key=lambda path: path.name):  # parents first
        with taken(path) as free:
            kept = read_kept(path) if free else None
            if not free:
                done = done.model_copy(update={"under_way": (*done.under_way, path.stem)})
            elif kept is None:
                forget(path)
                done = done.model_copy(update={"torn": done.torn + 1})
            elif kept.header["server"] != here and not moved:
                meant = {**done.elsewhere, path.stem: kept.header["server"]}
                done = done.model_copy(update={"elsewhere": meant})
            else:
                done = _sent(tracker, path, kept, done)
    return done


def _sent(tracker: Tracker, path: Path, kept: KeptEvents, done: Synced) -> Synced:
    from mlflow.exceptions import MlflowException

    waits = "it still waits; start the server, and say `nexusflow tracking sync` again"
    try:
        with answering_server(tracker.uri, waits):
            events = _send_run(tracker, path, kept)
    except (MlflowException, ValueError) as error:
        if isinstance(error, MlflowException):
            told = error.message
        elif "is not what was kept" in str(error):
            told = str(error)
        else:
            raise
        refused = {**done.refused, path.stem: told.splitlines()[0]}
        return done.model_copy(update={"refused": refused})
    forget(path)
    counted = {
        "runs": done.runs + 1,
        "events": done.events + events,
        "torn": done.torn + kept.torn,
    }
    return done.model_copy(update=counted)


def _send_run(tracker: Tracker, path: Path, kept: KeptEvents) -> int:
    """Send one run's events from where a former replay stopped; how many there were."""
    header = kept.header
    run_id, sent = sent_already(path)
    if not run_id:
        run_id = _run_of(tracker, header)
        note_sent(path, run_id, 0)
    seen = NotTwice(lambda: tracker.client) if header.get("again") else None
    for number, event in enumerate(kept.events):
        if event["kind"] == "reopened":
            seen = NotTwice(lambda: tracker.client)
        if number >= sent:
            whole = located(path, event)
            _send(tracker, header, run_id, seen.new(run_id, whole) if seen else whole)
            note_sent(path, run_id, number + 1)
    if header["kind"] == "run" and not _ended(kept.events):
        tracker.client.set_terminated(run_id, "KILLED")
    return len(kept.events) - sent


def _run_of(tracker: Tracker, header: Event) -> str:
    """The server's id of a run, which a former replay may have opened."""
    if header["kind"] == "parent":
        return tracker.parent_on_server(header)
    if header.get("run_id"):
        return str(header["run_id"])
    return tracker.open_on_server(header, own=(header["tags"][RUN_KEY],))


def _send(tracker: Tracker, header: Event, run_id: str, event: Event) -> None:
    if header["kind"] == "parent":
        tracker.finish_on_server(header["tags"][DAGSTER_RUN], event)
    else:
        client: MlflowClient = tracker.client
        send(client, run_id, event)


def _ended(events: list[Event]) -> bool:
    """Whether the last attempt was closed."""
    ends = [event["kind"] for event in events if event["kind"] in {"terminated", "reopened"}]
    return bool(ends) and ends[-1] == "terminated"
