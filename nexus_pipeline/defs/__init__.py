"""Assets and checks, one file per stage word; bodies are thin and call nexus_pipeline.steps."""
