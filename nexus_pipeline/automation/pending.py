"""What a run would make, without running it: a tick that finds nothing writes nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from nexus_pipeline.defs.making import (
    Making,
    fingerprint_now,
    is_there,
    open_tracker,
    versions_read,
)
from nexus_pipeline.defs.resources import Workshop, workshop
from nexus_pipeline.project import ProjectConfig


def seen_through(project: ProjectConfig, resources: Mapping[str, Any]) -> tuple[Workshop, str]:
    """What a tick looks at: the workshop of a run, and where the tracking server is."""
    tracker = resources["tracker"]
    room = workshop(project, resources["store"], resources["progress"])
    return room, open_tracker(tracker.path, tracker.experiment).uri


def pending(room: Workshop, makings: Sequence[Making], tracking_uri: str) -> tuple[str, ...]:
    """Keys of assets that are not there, or not made from what is there now.

    What stands after a pending asset is pending too: its turn comes when the other was made, and
    it may then turn out to be unchanged. Makings of single days are left out.

    Raises:
        StoreLockedError: somebody else is writing the store.
    """
    found: dict[str, None] = {}
    for making in makings:
        if making.daily_from is not None:
            continue
        stale = any(key in found for key in making.upstream)
        if stale or not is_fresh(room, making, tracking_uri):
            found[making.key] = None
    return tuple(found)


def is_fresh(room: Workshop, making: Making, tracking_uri: str) -> bool:
    """Whether an asset is there and made from what is there now."""
    former = room.records.read(making.key)
    if former is None:
        return False
    now = fingerprint_now(making, versions_read(making, room), making.also(tracking_uri))
    return former.fingerprint == now and is_there(room, former)
