"""Imports that would bring PySpark along, where it is installed for something else.

Pandera and Great Expectations look for it. It takes seconds, complains about pandas, and ends a
process whose main module has no file (``python -c``, a worker of a pool), which it takes for a run
of its own doctests.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

HIDDEN = ("pyspark", "pyspark.sql.connect")


@contextmanager
def without_pyspark() -> Iterator[None]:
    """Inside, what of PySpark was not imported before is not found; nobody here uses it."""
    hidden = [name for name in HIDDEN if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # as the import system documents it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
