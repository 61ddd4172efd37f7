"""The Dagster pipeline: one YAML file in, a registered relational model out."""
