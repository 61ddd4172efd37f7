"""What can be wrong with the text of a CSV file, told with its line and reason."""

import codecs
import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from nexus_model.schema import DataError

_CHUNK_BYTES = 1 << 20
_OTHER_DELIMITERS = {";": "a semicolon", "\t": "a tab", "|": "a bar"}


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def assert_utf8(path: Path, *, table: str, shown: str) -> None:
    """Refuse a file with a byte that is not UTF-8, naming the byte and its line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, lines = 0, 0
    for chunk in [*_chunks(path), b""]:
        pending = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            at = offset - pending + error.start
            line = lines + chunk.count(b"\n", 0, max(0, error.start - pending)) + 1
            raise DataError(
                f"{shown} is not UTF-8: byte {error.object[error.start]:#04x} at offset {at}, "
                f"line {line}; save the file as UTF-8",
                table=table,
            ) from error
        offset += len(chunk)
        lines += chunk.count(b"\n")


def read_header(path: Path, *, table: str, shown: str) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataError: the file is empty, its delimiter is not a comma, or a name is missing, comes
            twice, or is one we add ourselves.
    """
    header = next((record for _, record in _records(path) if record), None)
    if header is None:
        raise DataError(f"{shown} is empty", table=table)
    names = [name.strip() for name in header]
    if len(names) == 1:
        seen = next((mark for mark in _OTHER_DELIMITERS if mark in names[0]), None)
        if seen is not None:
            raise DataError(
                f"{shown} line 1: columns are separated by {_OTHER_DELIMITERS[seen]} ({seen!r}); "
                "a comma is expected",
                table=table,
            )
    assert_column_names(names, table=table, shown=shown)
    return names


def assert_column_names(names: list[str], *, table: str, shown: str) -> None:
    """Refuse column names that are missing, come twice, or are ours."""
    for position, name in enumerate(names):
        if not name:
            raise DataError(f"{shown}: column {position + 1} has no name", table=table)
        if name.lower() in {"_row", "_reason"}:
            raise DataError(f"{shown}: the name is taken by us", table=table, column=name)
    counts = Counter(name.lower() for name in names)
    for name in names:
        if counts[name.lower()] > 1:
            problem = f"{shown}: comes {counts[name.lower()]} times in the header"
            raise DataError(problem, table=table, column=name)


def find_broken_line(path: Path, columns: int) -> str | None:
    """Where and why the first record does not fit the header, or ``None``."""
    first_line = 1
    try:
        for last_line, record in _records(path):
            if record and len(record) != columns:
                return f"line {first_line} has {len(record)} fields, the header {columns}"
            first_line = last_line + 1
    except csv.Error as error:
        return f"line {first_line}: {error}"
    if _has_mixed_line_ends(path):
        return "some lines end with CR LF and some with LF; use one of them"
    return None


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(1 << 30)
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        for record in reader:
            yield reader.line_num, record


def _has_mixed_line_ends(path: Path) -> bool:
    content = path.read_bytes()
    windows = content.count(b"\r\n")
    return 0 < windows < content.count(b"\n")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
