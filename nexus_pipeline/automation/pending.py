"""What a run would make, without running it: a tick that finds nothing writes nothing."""

from collections.abc import Sequence

from nexus_pipeline.defs.making import Making, fingerprint_now, is_there, versions_read
from nexus_pipeline.defs.resources import Workshop


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


def is_fresh(room: Workshop, making: Making, tracking_uri: str, day: str = "") -> bool:
    """Whether an asset, or its partition of a day, is there and made from what is there now."""
    former = room.records.read(f"{making.key}/{day}".rstrip("/"))
    if former is None:
        return False
    now = fingerprint_now(making, versions_read(making, room, day), tracking_uri)
    return former.fingerprint == now and is_there(room, former)
