"""Scan: the tables of a folder, or of one database or archive file, and what is left out."""

import gzip
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, cast

import duckdb

from nexus_model.schema import ConfigurationError, Record
from nexus_pipeline.propose.declared import read_declared
from nexus_pipeline.propose.source import Form, Source, table_name
from nexus_pipeline.propose.text_form import DELIMITERS, TextForm, text_form
from nexus_pipeline.storage.names import literal

_TEXTS = (".csv", ".tsv", ".tab", ".txt")
_DATABASES = (".db", ".sqlite", ".sqlite3", ".duckdb", ".ddb")
READ = "CSV, TSV, Parquet, packed CSV (.gz, .zip), DuckDB and SQLite files"
_SQLITE_MARK, _DUCKDB_MARK = b"SQLite format 3\0", b"DUCK"


class LeftOut(Record):
    """A file that gives no table, and why."""

    file: str
    reason: str


class Scan(Record):
    """What a folder holds."""

    folder: Path
    sources: tuple[Source, ...]
    left_out: tuple[LeftOut, ...] = ()


def scan_folder(place: Path) -> Scan:
    """Tables of a folder, its own files only, in the order of their names.

    Raises:
        ConfigurationError: it is not there, or holds no table.
    """
    if not place.exists():
        raise ConfigurationError(f"--from {place}: there is no such folder")
    files = [place] if place.is_file() else sorted(path for path in place.iterdir())
    sources: list[Source] = []
    left_out: list[LeftOut] = []
    for file in files:
        if not file.is_file() or file.name.startswith("."):
            continue
        taken = [source.table for source in sources]
        found = list(_sources(file, taken))
        sources += [source for source in found if isinstance(source, Source)]
        left_out += [reason for reason in found if isinstance(reason, LeftOut)]
    if not sources:
        told = "; ".join(f"{item.file}: {item.reason}" for item in left_out[:5])
        raise ConfigurationError(
            f"--from {place}: no table in it; {READ} are read{': ' + told if told else ''}"
        )
    folder = place.parent if place.is_file() else place
    return Scan(folder=folder.resolve(), sources=tuple(sources), left_out=tuple(left_out))


def _sources(file: Path, taken: list[str]) -> Iterator[Source | LeftOut]:
    name = file.name.lower()
    if file.stat().st_size == 0:
        yield LeftOut(file=file.name, reason="it is empty")
    elif name.endswith(".parquet"):
        yield Source(table=table_name(file.stem, taken), file=file, form=Form.AS_IS)
    elif name.endswith(_DATABASES):
        yield from _database(file, taken)
    elif name.endswith(".zip"):
        yield from _archive(file, taken)
    elif name.endswith(tuple(f"{suffix}.gz" for suffix in _TEXTS)):
        with gzip.open(file) as text:
            form = text_form(cast("IO[bytes]", text))
        stem = Path(file.stem).stem
        yield _text(file, stem, form, taken, as_is=name.endswith(".csv.gz"))
    elif name.endswith(_TEXTS):
        with file.open("rb") as text:
            form = text_form(text)
        yield _text(file, file.stem, form, taken, as_is=name.endswith(".csv"))
    else:
        yield LeftOut(file=file.name, reason=f"only {READ} are read; export it as one of them")


def _text(file: Path, stem: str, form: TextForm, taken: list[str], *, as_is: bool) -> Source:
    readable = as_is and form.is_plain
    source = Source(
        table=table_name(stem, taken),
        file=file,
        form=Form.AS_IS if readable else Form.TEXT,
        encoding=form.encoding,
        delimiter=form.delimiter,
        header=form.header,
    )
    return source if readable else source.noted(f"{file.name} is {told_form(form)}")


def told_form(form: TextForm) -> str:
    """Encoding and delimiter in words.

    >>> told_form(TextForm(encoding="cp1252", delimiter=";", header=True))
    'text in cp1252 with a semicolon between columns'
    """
    return f"text in {form.encoding} with {DELIMITERS[form.delimiter]} between columns"


def _archive(file: Path, taken: list[str]) -> Iterator[Source | LeftOut]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [
                name
                for name in archive.namelist()
                if name.lower().endswith((*_TEXTS, ".parquet")) and "__MACOSX" not in name
            ]
            alone = len(members) == 1 and len(archive.namelist()) == 1
            for member in members:
                source = _member(archive, file, member, taken)
                taken = [*taken, source.table]
                if alone and file.name.lower().endswith(".csv.zip") and _plain(source):
                    stem = Path(Path(file.name).stem).stem
                    source = Source(table=table_name(stem, []), file=file, form=Form.AS_IS)
                yield source
    except zipfile.BadZipFile as error:
        yield LeftOut(file=file.name, reason=f"a damaged archive: {error}")
        return
    if not members:
        yield LeftOut(file=file.name, reason="no table in the archive")


def _member(archive: zipfile.ZipFile, file: Path, member: str, taken: list[str]) -> Source:
    source = Source(
        table=table_name(Path(member).stem, taken), file=file, form=Form.ZIP, member=member
    )
    if member.lower().endswith(".parquet"):
        return source.noted(f"{member} was packed in {file.name}")
    with archive.open(member) as text:
        form = text_form(text)
    return source.model_copy(update=form.model_dump()).noted(
        f"{member}, packed in {file.name}, is {told_form(form)}"
    )


def _plain(source: Source) -> bool:
    form = TextForm(encoding=source.encoding, delimiter=source.delimiter, header=source.header)
    return source.member.lower().endswith(".csv") and form.is_plain


def _database(file: Path, taken: list[str]) -> Iterator[Source | LeftOut]:
    with file.open("rb") as opened:
        start = opened.read(16)
    if start == _SQLITE_MARK:
        form, found = Form.SQLITE, _sqlite_tables(file)
    elif start[8:12] == _DUCKDB_MARK:
        form, found = Form.DUCKDB, _duckdb_tables(file)
    else:
        yield LeftOut(file=file.name, reason="neither a SQLite nor a DuckDB file")
        return
    for member in found:
        name = table_name(member.rpartition(".")[2], taken)
        taken = [*taken, name]
        source = Source(table=name, file=file, form=form, member=member)
        yield read_declared(source).noted(f"table {member} of {file.name}")
    if not found:
        yield LeftOut(file=file.name, reason="a database without tables")


def _sqlite_tables(file: Path) -> list[str]:
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as con:
        query = "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'"
        return [row[0] for row in con.execute(f"{query} order by name")]


def _duckdb_tables(file: Path) -> list[str]:
    with duckdb.connect() as con:
        con.execute(f"ATTACH {literal(str(file))} AS given (READ_ONLY)")
        rows = con.execute(
            "select table_schema, table_name from information_schema.tables "
            "where table_catalog = 'given' and table_type = 'BASE TABLE' order by 1, 2"
        ).fetchall()
    return [f"{schema}.{name}" for schema, name in rows]
