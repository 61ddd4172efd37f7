"""Where tables are kept: one DuckDB file per project, written atomically."""

from nexus_pipeline.storage.store import Store, StoreLockedError
from nexus_pipeline.storage.tables import Frame, append_table, replace_table

__all__ = ["Frame", "Store", "StoreLockedError", "append_table", "replace_table"]
