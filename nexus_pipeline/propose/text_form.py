"""How a text file of rows is written: encoding, delimiter, header; and the same rows as plain CSV.

Plain means what the raw stage reads: UTF-8, commas, one header of different names.
"""

import codecs
import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nexus_model.schema import DataError, Record

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_LOOKED_AT = 1 << 18
_RECORDS = 200
_CHUNK = 1 << 20
_OURS = {"_row", "_reason", "_time"}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextForm(Record):
    """Encoding, delimiter, and whether the first record names the columns."""

    encoding: str
    delimiter: str
    header: bool

    @property
    def is_plain(self) -> bool:
        """Whether the raw stage reads it as it is, as far as the first records tell."""
        return self.encoding in {"utf-8", "utf-8-sig"} and self.delimiter == "," and self.header


def text_form(file: IO[bytes]) -> TextForm:
    """Look at a file, whole for its encoding and at its start for the rest.

    >>> text_form(io.BytesIO("a;b\\né;1\\n".encode("utf-16")))
    TextForm(encoding='utf-16', delimiter=';', header=True)
    """
    encoding = _encoding(file)
    file.seek(0)
    start = file.read(_LOOKED_AT)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    if len(start) == _LOOKED_AT:
        text = text[: text.rfind("\n") + 1] or text
    delimiter = _delimiter(text)
    first = next(_records(text, delimiter), [])
    return TextForm(encoding=encoding, delimiter=delimiter, header=not _all_numbers(first))


def write_plain(file: IO[bytes], form: TextForm, to: Path, table: str) -> list[str]:
    """Write the rows as plain CSV; what was changed besides, in words.

    Raises:
        DataError: a record has more or fewer fields than the first one; names its line.
    """
    csv.field_size_limit(1 << 30)
    file.seek(0)
    source = io.TextIOWrapper(file, encoding=form.encoding, newline="")
    reader = csv.reader(source, delimiter=form.delimiter, skipinitialspace=form.delimiter == ",")
    first = next((record for record in reader if record), None)
    if first is None:
        raise DataError("is empty", table=table)
    names = column_names(first if form.header else [""] * len(first))
    told = [] if form.header else ["it has no header: columns are named by their position"]
    if form.header and names != first:
        told.append("column names that were empty, came twice or are ours were changed")
    with to.open("w", encoding="utf-8", newline="") as plain:
        writer = csv.writer(plain, lineterminator="\n")
        writer.writerow(names)
        records = reader if form.header else itertools.chain([first], reader)
        for record in records:
            if record and len(record) != len(names):
                raise DataError(
                    f"line {reader.line_num} has {len(record)} fields, the first {len(names)}; "
                    "mend the line, then run again",
                    table=table,
                )
            if record:
                writer.writerow([cell.strip() for cell in record])
    source.detach()
    return told


def column_names(header: list[str]) -> list[str]:
    """Names that are there, differ, and are not ours.

    >>> column_names(["", "a", "A", "_row"])
    ['column_1', 'a', 'A_2', '_row_']
    """
    names: list[str] = []
    seen: Counter[str] = Counter()
    for position, given in enumerate(header, start=1):
        name = given.strip() or f"column_{position}"
        name = f"{name}_" if name.lower() in _OURS else name
        seen[name.lower()] += 1
        names.append(name if seen[name.lower()] == 1 else f"{name}_{seen[name.lower()]}")
    return names


def _encoding(file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(4096)
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if marked is not None:
        return marked
    if start.count(b"\0") > len(start) // 4:
        return "utf-16-le" if start[1:2] == b"\0" else "utf-16-be"
    return next((name for name in ("utf-8", "cp1252") if _decodes(file, name)), "latin-1")


def _decodes(file: IO[bytes], encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    file.seek(0)
    try:
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(text: str) -> str:
    """The mark that gives most records the same number of fields, and more than one."""
    best, best_score = ",", 0.0
    for mark in DELIMITERS:
        widths = [len(record) for record in itertools.islice(_records(text, mark), _RECORDS)]
        if not widths or widths[0] < 2:
            continue
        score = widths.count(widths[0]) / len(widths) + min(widths[0], 50) / 1000
        if score > best_score:
            best, best_score = mark, score
    return best


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    try:
        yield from (
            record for record in csv.reader(io.StringIO(text), delimiter=delimiter) if record
        )
    except csv.Error:
        return


def _all_numbers(record: list[str]) -> bool:
    try:
        return len(record) > 1 and all(float(cell) == float(cell) for cell in record)
    except ValueError:
        return False
