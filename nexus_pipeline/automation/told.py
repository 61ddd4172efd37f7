"""How a run ended, told to the log and to a webhook the environment names."""

import json
import os
import urllib.error
import urllib.request
from typing import Any

import dagster as dg

from nexus_model.schema import NexusError
from nexus_pipeline.project import ProjectConfig

WEBHOOK = "NEXUS_WEBHOOK"
PATIENCE_S = 5.0
LONGEST_TEXT = 2000


class NotToldError(NexusError):
    """The webhook did not take the message; the sensor's tick fails and is tried again."""


def message(project: ProjectConfig, run: dg.DagsterRun, error: str | None) -> dict[str, Any]:
    """What the webhook is sent: plain JSON, and ``text`` for chat rooms."""
    ended = "failed" if error is not None else "succeeded"
    told = f"{project.project_name}: {run.job_name} {ended}"
    if error is not None:
        told += f": {error[:LONGEST_TEXT]}"
    return {
        "text": told,
        "project": project.project_name,
        "job": run.job_name,
        "run_id": run.run_id,
        "status": ended,
        "why": run.tags.get("nexusflow.why", ""),
        "error": None if error is None else error[:LONGEST_TEXT],
    }


def tell(content: dict[str, Any]) -> None:
    """Post to the address in NEXUS_WEBHOOK; nothing where it is not set.

    Raises:
        NotToldError: nobody took it. The address is a secret and is not in the message.
    """
    address = os.environ.get(WEBHOOK)
    if not address:
        return
    if not address.startswith(("https://", "http://")):
        raise NotToldError(f"{WEBHOOK} must be an http or https address")
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        address,
        data=json.dumps(content).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        raise NotToldError(f"{WEBHOOK}: the server answered {error.code}") from None
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise NotToldError(f"{WEBHOOK}: {type(reason).__name__}") from None


def ended_sensors(project: ProjectConfig) -> list[dg.SensorDefinition]:
    """One sensor for runs that failed and one for runs that succeeded; both off until started."""
    name = project.project_name

    @dg.run_failure_sensor(
        name=f"{name}_tell_failure",
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Logs a failed run and posts it to {WEBHOOK}.",
    )
    def failed(context: dg.RunFailureSensorContext) -> None:
        error = first_cause(context)
        context.log.error("%s failed: %s", context.dagster_run.job_name, error)
        tell(message(project, context.dagster_run, error))

    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name=f"{name}_tell_success",
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Logs a run that succeeded and posts it to {WEBHOOK}.",
    )
    def succeeded(context: dg.RunStatusSensorContext) -> None:
        context.log.info("%s succeeded", context.dagster_run.job_name)
        tell(message(project, context.dagster_run, None))

    return [failed, succeeded]


def first_cause(context: dg.RunFailureSensorContext) -> str:
    """What the first failed step said; what the run said where no step failed."""
    for event in context.get_step_failure_events():
        failed = event.step_failure_data
        if failed.user_failure_data is not None and failed.user_failure_data.description:
            return f"{event.step_key}: {failed.user_failure_data.description}"
        if failed.error is not None:
            return f"{event.step_key}: {innermost(failed.error).message.strip()}"
    return context.failure_event.message or "the run failed"


def innermost(error: Any) -> Any:
    """The cause of the cause of Dagster's record of an error, down to the first."""
    while error.cause is not None:
        error = error.cause
    return error
