"""Everything Dagster is told: assets, checks, jobs, schedule and resources of one project.

The project file is ``nexusflow.yaml`` in the working folder, or what NEXUS_PROJECT names.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from nexus_pipeline.defs.aligned import aligned_checks, aligned_makings, load_sql
from nexus_pipeline.defs.evaluated import evaluated_checks, evaluated_makings
from nexus_pipeline.defs.making import Making, build_asset
from nexus_pipeline.defs.optimized import optimized_checks, optimized_makings
from nexus_pipeline.defs.raw import raw_makings
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.defs.served import served_makings
from nexus_pipeline.defs.tokenized import tokenized_checks, tokenized_makings
from nexus_pipeline.defs.trained import trained_checks, trained_makings
from nexus_pipeline.defs.validated import validated_checks, validated_makings
from nexus_pipeline.project import DEFAULT_FILE, ProjectConfig, load_project
from nexus_pipeline.schedules import everything_job, retraining_schedule


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
    """The definitions of a project; ``resources`` replace the default ones."""
    checks = [
        *validated_checks(project),
        *aligned_checks(project, load_sql(project)),
        *tokenized_checks(project),
        *trained_checks(project),
        *optimized_checks(project),
        *evaluated_checks(project),
    ]
    job = everything_job(project)
    return dg.Definitions(
        assets=[build_asset(project, making) for making in all_makings(project)],
        asset_checks=checks,
        jobs=[job],
        schedules=[retraining_schedule(project, job)],
        resources={**default_resources(project), **(resources or {})},
        executor=dg.in_process_executor,
    )


def project_file() -> Path:
    """The project file this process is about."""
    return Path(os.environ.get("NEXUS_PROJECT", DEFAULT_FILE))


def __getattr__(name: str) -> dg.Definitions:
    """``defs``, built when it is asked for, so that importing this module reads no file."""
    if name == "defs":
        return build_definitions(load_project(project_file()))
    raise AttributeError(name)
