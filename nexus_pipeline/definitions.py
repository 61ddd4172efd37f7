"""What Dagster loads: the project NEXUS_PROJECT names, else ``nexusflow.yaml``."""

from nexus_pipeline.assembly import build_definitions
from nexus_pipeline.project import load_project, project_file

defs = build_definitions(load_project(project_file()))
