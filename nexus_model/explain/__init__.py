"""Model and batch -> reasons, read off the taps without touching the model."""
