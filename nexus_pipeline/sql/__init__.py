"""The small engine behind ``dbt_like_sql``: plain SELECTs, their order, lineage and checks."""

from nexus_pipeline.sql.check import CheckResult, SqlCheck, load_checks, run_check
from nexus_pipeline.sql.graph import run_order
from nexus_pipeline.sql.lineage import column_lineage, result_columns
from nexus_pipeline.sql.model import SqlModel, load_models
from nexus_pipeline.sql.run import run_model

__all__ = [
    "CheckResult",
    "SqlCheck",
    "SqlModel",
    "column_lineage",
    "load_checks",
    "load_models",
    "result_columns",
    "run_check",
    "run_model",
    "run_order",
]
