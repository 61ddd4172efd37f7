"""Serving: the HTTP interface of one model, and its client."""
