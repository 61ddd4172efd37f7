"""Source: one table found in the given folder, and whether the raw stage can read it as it is."""

import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

from nexus_model.schema import Record


class Form(StrEnum):
    """How a table comes."""

    AS_IS = "as_is"
    TEXT = "text"
    ZIP = "zip"
    SQLITE = "sqlite"
    DUCKDB = "duckdb"


class Source(Record):
    """A table of the new project; ``member`` is its name inside ``file``, where that holds more."""

    table: str
    file: Path
    form: Form
    member: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","
    header: bool = True
    notes: tuple[str, ...] = ()

    def noted(self, note: str) -> "Source":
        """The same source with one more thing to say about it."""
        return self.model_copy(update={"notes": (*self.notes, note)})


def table_name(text: str, taken: Collection[str]) -> str:
    """A name for tables and assets: letters, digits and _, different from those taken.

    >>> table_name("Order lines (2024)", ["orders"]), table_name("2024", [])
    ('Order_lines_2024', 't_2024')
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "table"
    name = name if name[0].isalpha() else f"t_{name}"
    lower, number, wanted = {other.lower() for other in taken}, 1, name
    while wanted.lower() in lower:
        number += 1
        wanted = f"{name}_{number}"
    return wanted
