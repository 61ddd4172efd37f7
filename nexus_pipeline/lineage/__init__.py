"""Where a model comes from: lineage of versions, what changed between two, the audit trail."""
