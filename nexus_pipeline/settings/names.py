"""What a project file may write in more than one way."""

import re
import unicodedata
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BeforeValidator

DEFAULT_FILE = "nexusflow.yaml"


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _parted(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def stem(value: str) -> str:
    """A table's name from a file name.

    >>> stem("customers.csv")
    'customers'
    """
    return PurePath(value).stem


_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue",
    "ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "Ł": "L", "Ø": "O"})  # fmt: skip


def ascii_letters(text: str) -> str:
    """A text with Latin letters spelled in ASCII; other signs stay.

    >>> ascii_letters("Größe"), ascii_letters("élève")
    ('Groesse', 'eleve')
    """
    found = unicodedata.normalize("NFKD", unicodedata.normalize("NFC", text).translate(_SPELLED))
    return "".join(sign for sign in found if not unicodedata.combining(sign))


def plain_name(text: str) -> str:
    """A text as a name of assets and tables: letters, digits and _, beginning with a letter.

    >>> plain_name("Größe (cm)"), plain_name("2024"), plain_name("имя")
    ('Groesse_cm', 't_2024', 'table')
    """
    name = re.sub(r"[^A-Za-z0-9_]+", "_", ascii_letters(text)).strip("_") or "table"
    return name if name[0].isalpha() else f"t_{name}"


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Parted = BeforeValidator(_parted)
