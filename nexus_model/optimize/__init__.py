"""Model to smaller model, and what that cost, measured."""
