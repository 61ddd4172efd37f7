"""The sensor on late data: days that were made and would now be made otherwise are made again."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from nexus_pipeline.automation.pending import seen_through
from nexus_pipeline.automation.retraining import is_in_flight
from nexus_pipeline.defs.making import EVERYTHING, Making, fingerprint_now
from nexus_pipeline.defs.resources import Workshop
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.storage import StoreLockedError

EVERY_S = 600


def stale_days(room: Workshop, making: Making, tracking_uri: str) -> dict[str, str]:
    """Days that were made and read something else now, with the fingerprint they would get."""
    days = room.records.days_of(making.key)
    if not days or making.reads is None:
        return {}
    found, read, also = {}, making.reads(room, days), making.also(tracking_uri)
    for day in days:
        former = room.records.read(f"{making.key}/{day}")
        now = fingerprint_now(making, read[day], also)
        if former is not None and former.fingerprint != now:
            found[day] = now
    return found


def late_data_sensor(
    project: ProjectConfig, makings: Sequence[Making], resources: Mapping[str, Any]
) -> dg.SensorDefinition:
    """Asks for exactly the days that late data touched; off until started."""
    daily = [making for making in makings if making.reads is not None]

    @dg.sensor(
        name=f"{project.project_name}_late_data",
        target=dg.AssetSelection.assets(*(dg.AssetKey(m.key.split("/")) for m in daily)),
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Makes anew the days that see a row which came late, and no other.",
    )
    def late_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if is_in_flight(context.instance, f"{project.project_name}_{EVERYTHING}"):
            return dg.SkipReason("tables are being made")
        room, uri = seen_through(project, resources)
        try:
            stale = {making.key: stale_days(room, making, uri) for making in daily}
        except StoreLockedError as error:
            return dg.SkipReason(str(error))
        asked = [
            dg.RunRequest(
                run_key=f"{key}:{day}:{now}",
                partition_key=day,
                asset_selection=[dg.AssetKey(key.split("/"))],
                tags={"nexusflow.why": f"what {key} saw on {day} has changed"},
            )
            for key, days in stale.items()
            for day, now in days.items()
        ]
        return dg.SensorResult(run_requests=asked) if asked else dg.SkipReason("no day is touched")

    return late_data
