"""Where a model comes from: its lineage, what two versions do not share, and the audit trail."""
