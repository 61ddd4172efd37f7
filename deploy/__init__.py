"""Deployment: container files, and the same processes on this machine without containers."""
