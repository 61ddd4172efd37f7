"""What a database and a task are: plain data, no torch."""

from nexus_model.schema.database import DatabaseSpec
from nexus_model.schema.errors import (
    ArtifactError,
    ConfigurationError,
    DataError,
    NexusError,
    TrainingError,
)
from nexus_model.schema.record import Record
from nexus_model.schema.semantic_type import SemanticType
from nexus_model.schema.table import ColumnSpec, ForeignKey, TableSpec
from nexus_model.schema.task import TaskKind, TaskSpec

__all__ = [
    "ArtifactError",
    "ColumnSpec",
    "ConfigurationError",
    "DataError",
    "DatabaseSpec",
    "ForeignKey",
    "NexusError",
    "Record",
    "SemanticType",
    "TableSpec",
    "TaskKind",
    "TaskSpec",
    "TrainingError",
]
