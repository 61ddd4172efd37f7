"""What the assets do: plain functions over the store, free of Dagster."""
