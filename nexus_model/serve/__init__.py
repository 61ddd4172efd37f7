"""Predict from raw frames with an artifact alone; no training code is importable from here."""
