"""Model and batches -> weights; exact to repeat, exact to resume."""
