"""Noting: whoever decides says so to the audit trail, before anything is moved."""

from collections.abc import Callable, Mapping
from typing import Any

# What happened and its facts; the answer is where the trail stands then. It raises if it cannot.
Note = Callable[[str, Mapping[str, Any]], str]
