"""NexusFormer: learn from related tables as they are."""
