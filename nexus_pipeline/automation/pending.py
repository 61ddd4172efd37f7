"""What a run would make, without running it: a tick that finds nothing writes nothing."""

from collections.abc import Sequence

from nexus_pipeline.defs.making import Making, is_there, versioned
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.steps.records import fingerprint


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
        if any(key in found for key in making.upstream) or not _is_fresh(
            room, making, tracking_uri
        ):
            found[making.key] = None
    return tuple(found)


def _is_fresh(room: Workshop, making: Making, tracking_uri: str) -> bool:
    former = room.records.read(making.key)
    if former is None:
        return False
    upstream = room.records.versions(making.upstream)
    read = {**upstream, **making.also(tracking_uri)}
    now = fingerprint(versioned(making.code), making.config, read)
    return former.fingerprint == now and is_there(room, former.stored)
