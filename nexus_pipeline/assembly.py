"""One project file becomes everything Dagster is told: assets, checks, job, schedule, resources."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from nexus_pipeline.automation.conditions import condition_sensor, when_its_data_changed
from nexus_pipeline.automation.daily import daily_schedules
from nexus_pipeline.automation.drift import drift_sensor
from nexus_pipeline.automation.executor import build_executor
from nexus_pipeline.automation.late_data import late_data_sensor
from nexus_pipeline.automation.new_files import new_files_sensor
from nexus_pipeline.automation.retention import retention_job, retention_schedule
from nexus_pipeline.automation.retraining import retraining_schedule
from nexus_pipeline.automation.told import ended_sensors
from nexus_pipeline.defs.aligned import aligned_checks, aligned_makings, load_sql
from nexus_pipeline.defs.daily import daily_labels
from nexus_pipeline.defs.evaluated import evaluated_checks, evaluated_makings
from nexus_pipeline.defs.expected import expected_checks
from nexus_pipeline.defs.making import EVERYTHING, Making, build_asset
from nexus_pipeline.defs.monitored import monitored_makings
from nexus_pipeline.defs.optimized import optimized_checks, optimized_makings
from nexus_pipeline.defs.raw import raw_makings
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.defs.served import served_makings
from nexus_pipeline.defs.tokenized import tokenized_checks, tokenized_makings
from nexus_pipeline.defs.trained import trained_checks, trained_makings
from nexus_pipeline.defs.validated import validated_checks, validated_makings
from nexus_pipeline.jobs import asset_job
from nexus_pipeline.project import ProjectConfig


def all_makings(project: ProjectConfig) -> list[Making]:
    """Every asset of a project as data, in the order of the stages."""
    sql = load_sql(project)
    return [
        *raw_makings(project),
        *validated_makings(project),
        *aligned_makings(project, sql),
        *daily_labels(project, sql),
        *tokenized_makings(project),
        *trained_makings(project),
        *optimized_makings(project),
        *evaluated_makings(project),
        *served_makings(project),
        *monitored_makings(project),
    ]


def build_definitions(
    project: ProjectConfig, resources: Mapping[str, Any] | None = None
) -> dg.Definitions:
    """The definitions of a project; ``resources`` replace the default ones.

    The project's own encoders are registered now, so that every process that runs an asset knows
    them.
    """
    if project.encoder_modules:
        from nexus_pipeline.steps.model_plan import load_encoders

        load_encoders(project)
    checks = [
        *validated_checks(project),
        *aligned_checks(project, load_sql(project)),
        *tokenized_checks(project),
        *trained_checks(project),
        *optimized_checks(project),
        *evaluated_checks(project),
        *expected_checks(project),
    ]
    makings = all_makings(project)
    jobs = {
        name: asset_job(project, makings, name) for name in dict.fromkeys(m.job for m in makings)
    }
    everything = tuple(making for making in makings if making.job == EVERYTHING)
    given, retention = {**default_resources(project), **(resources or {})}, retention_job(project)
    return dg.Definitions(
        assets=[build_asset(project, making, _condition(making)) for making in makings],
        asset_checks=checks,
        jobs=[*jobs.values(), retention],
        schedules=[
            retraining_schedule(project, everything, jobs[EVERYTHING], given),
            retention_schedule(project, retention),
            *daily_schedules(project, jobs),
        ],
        sensors=[
            new_files_sensor(project, jobs[EVERYTHING]),
            drift_sensor(project, jobs[EVERYTHING]),
            *([late_data_sensor(project, makings, given)] if project.tasks else []),
            condition_sensor(project.project_name),
            *ended_sensors(project),
        ],
        resources=given,
        executor=build_executor(project),
    )


def _condition(making: Making) -> dg.AutomationCondition | None:  # type: ignore[type-arg]
    """What is made when its data changed: assets of everything that are made from other assets."""
    by_itself = making.job == EVERYTHING and making.upstream
    return when_its_data_changed() if by_itself else None
