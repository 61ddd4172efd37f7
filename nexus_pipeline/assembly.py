"""One project file becomes everything Dagster is told: assets, checks, job, schedule, resources."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from nexus_pipeline.defs.aligned import aligned_checks, aligned_makings, load_sql
from nexus_pipeline.defs.evaluated import evaluated_checks, evaluated_makings
from nexus_pipeline.defs.making import EVERYTHING, Making, build_asset
from nexus_pipeline.defs.optimized import optimized_checks, optimized_makings
from nexus_pipeline.defs.raw import raw_makings
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.defs.served import served_makings
from nexus_pipeline.defs.tokenized import tokenized_checks, tokenized_makings
from nexus_pipeline.defs.trained import trained_checks, trained_makings
from nexus_pipeline.defs.validated import validated_checks, validated_makings
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.schedules import asset_job, retraining_schedule


def all_makings(project: ProjectConfig) -> list[Making]:
    """Every asset of a project as data, in the order of the stages."""
    return [
        *raw_makings(project),
        *validated_makings(project),
        *aligned_makings(project, load_sql(project)),
        *tokenized_makings(project),
        *trained_makings(project),
        *optimized_makings(project),
        *evaluated_makings(project),
        *served_makings(project),
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
    ]
    makings = all_makings(project)
    jobs = {
        name: asset_job(project, makings, name) for name in dict.fromkeys(m.job for m in makings)
    }
    return dg.Definitions(
        assets=[build_asset(project, making) for making in makings],
        asset_checks=checks,
        jobs=list(jobs.values()),
        schedules=[retraining_schedule(project, jobs[EVERYTHING])],
        resources={**default_resources(project), **(resources or {})},
        executor=dg.in_process_executor,
    )
