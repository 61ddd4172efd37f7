"""Source: one table found in the given folder, and whether the raw stage can read it as it is."""

from collections.abc import Collection
from enum import StrEnum
from pathlib import Path

from nexus_model.schema import Record
from nexus_pipeline.settings.names import plain_name


class Form(StrEnum):
    """How a table comes."""

    AS_IS = "as_is"
    TEXT = "text"
    ZIP = "zip"
    SQLITE = "sqlite"
    DUCKDB = "duckdb"


class DeclaredLink(Record):
    """A foreign key as a database declares it; no ``references`` are the parent's primary key."""

    columns: tuple[str, ...]
    parent: str
    references: tuple[str, ...] = ()


class Source(Record):
    """A table of the new project; ``member`` is its name inside ``file``, where that holds more.

    ``primary_key`` and ``foreign_keys`` are what a database file declares; parents are members.
    """

    table: str
    file: Path
    form: Form
    member: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","
    header: bool = True
    primary_key: tuple[str, ...] = ()
    foreign_keys: tuple[DeclaredLink, ...] = ()
    notes: tuple[str, ...] = ()

    def noted(self, note: str) -> "Source":
        """The same source with one more thing to say about it."""
        return self.model_copy(update={"notes": (*self.notes, note)})


def table_name(text: str, taken: Collection[str]) -> str:
    """A name for tables and assets: letters, digits and _, different from those taken.

    >>> table_name("Order lines (2024)", ["orders"]), table_name("2024", [])
    ('Order_lines_2024', 't_2024')
    """
    name = plain_name(text)
    # What is made beside the tables is called so.
    name = f"t_{name}" if name.lower().startswith("links_") else name
    lower, number, wanted = {"database", *(other.lower() for other in taken)}, 1, name
    while wanted.lower() in lower:
        number += 1
        wanted = f"{name}_{number}"
    return wanted
