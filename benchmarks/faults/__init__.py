"""Faults on purpose: every fault at every stage, and what is found after the next run."""
