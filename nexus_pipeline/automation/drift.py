"""The sensor on drift: an alarm of monitoring asks for a retraining, once for the data it saw."""

import json

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from nexus_pipeline.automation.retraining import is_in_flight
from nexus_pipeline.monitor.summary import DriftSummary, latest_drift
from nexus_pipeline.project import ProjectConfig

EVERY_S = 900


def drift_sensor(project: ProjectConfig, job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Asks for a run of everything when what was monitored last is an alarm; off until started.

    The run key is the version of the data that drifted and the champion it drifted from: the same
    alarm asks once, also when the run it asked for changed nothing.
    """

    @dg.sensor(
        name=f"{project.project_name}_drift",
        job=job,
        minimum_interval_seconds=EVERY_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Retrains when monitoring raised an alarm on data it has not asked for yet.",
    )
    def drift(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if is_in_flight(context.instance, job.name):
            return dg.SkipReason(f"a run of {job.name} is under way")
        seen: dict[str, str] = json.loads(context.cursor or "{}")
        found = {task: latest_drift(project, task) for task in project.task_names}
        alarms = {
            task: summary
            for task, summary in found.items()
            if summary is not None and summary.alarm and seen.get(task) != _key(summary)
        }
        if not alarms:
            return dg.SkipReason(_nothing(found))
        seen |= {task: _key(summary) for task, summary in alarms.items()}
        context.update_cursor(json.dumps(seen))
        request = dg.RunRequest(
            run_key="+".join(f"{task}:{_key(summary)}" for task, summary in alarms.items()),
            tags={"nexusflow.why": "; ".join(summary.told for summary in alarms.values())[:500]},
        )
        return dg.SensorResult(run_requests=[request])

    return drift


def _key(summary: DriftSummary) -> str:
    return f"{summary.data_version}:{summary.champion}"


def _nothing(found: dict[str, DriftSummary | None]) -> str:
    monitored = [task for task, summary in found.items() if summary is not None]
    if not monitored:
        return "nothing was monitored yet"
    return f"no alarm that was not acted on: {', '.join(monitored)}"
