"""Raw: a CSV or Parquet file becomes ``raw.<table>`` with types and row numbers, else unchanged.

A CSV file may be packed: ``table.csv.gz``, or alone in ``table.csv.zip``.
"""

import gzip
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from nexus_model.schema import ConfigurationError, DataError, Record
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.csv_text import (
    assert_column_names,
    assert_utf8,
    file_digest,
    find_broken_line,
    read_header,
)
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import literal, quote, quote_all, quote_table
from nexus_pipeline.storage.shared import store_rows
from nexus_pipeline.storage.tables import query_columns, table_columns

ROW = "_row"
_SUFFIXES = (".csv", ".parquet", ".csv.gz", ".csv.zip")
_PARQUET_MARK = b"PAR1"
_EXACT_IN_DOUBLE = 2**53
# Times of day stay text: no stage gives them a meaning of their own.
_CSV_TYPES = ["BOOLEAN", "BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR"]


class RawTable(Record):
    """What was read: the file by its content, and the shape of the table it became."""

    table: str
    path: Path
    sha256: str
    rows: int
    columns: tuple[str, ...]


def read_raw(project: ProjectConfig, table: str, store: Store) -> RawTable:
    """Read one table's file into ``raw.<table>``, in file order, with ``_row`` counting from 0.

    Raises:
        DataError: the file is missing, damaged, empty or not what its suffix says; the message
            names the file and where possible the line.
    """
    path = raw_file(project, table)
    shown = _shown(project, path)
    if not path.is_file():
        raise DataError(f"{shown} is not there", table=table)
    if path.stat().st_size == 0:
        raise DataError(f"{shown} is empty", table=table)
    if path.suffix.lower() == ".parquet":
        columns, rows = _store_parquet(path, table, shown, store)
    else:
        with _unpacked(path, table, shown) as text:
            columns, rows = _store_csv(text, table, shown, store, _keys(project, table))
    return RawTable(
        table=table, path=path, sha256=file_digest(path), rows=rows, columns=tuple(columns)
    )


def find_file(folder: Path, table: str) -> Path | None:
    """The file of a table in a folder, under the first suffix of those we read."""
    found = (folder / f"{table}{suffix}" for suffix in _SUFFIXES)
    return next((path for path in found if path.is_file()), None)


def text_rows(path: Path, table: str) -> pa.Table:
    """A table's file as it is, in file order; CSV cells are texts, NULL where empty.

    Raises:
        DataError: as ``read_raw``; a file with a header alone gives no rows.
    """
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        if path.suffix.lower() == ".parquet":
            _assert_parquet(path, table, path.name)
            return _rows_of(con, f"read_parquet({literal(str(path))})", path, table)
        with _unpacked(path, table, path.name) as text:
            assert_utf8(text, table=table, shown=path.name)
            header = read_header(text, table=table, shown=path.name)
            found = _rows_of(con, _csv_source(text, header), text, table, len(header))
    if found.column_names != header:
        raise DataError(f"the header was read as {found.column_names}", table=table)
    return found


@contextmanager
def file_rows(path: Path, table: str) -> Iterator[str]:
    """What to select a file's rows from, in SQL; CSV cells are texts, NULL where empty.

    Raises:
        DataError: the file is damaged, or its header is.
    """
    if path.suffix.lower() == ".parquet":
        _assert_parquet(path, table, path.name)
        yield f"read_parquet({literal(str(path))})"
        return
    with _unpacked(path, table, path.name) as text:
        assert_utf8(text, table=table, shown=path.name)
        yield _csv_source(text, read_header(text, table=table, shown=path.name))


def _rows_of(
    con: duckdb.DuckDBPyConnection, source: str, path: Path, table: str, columns: int = 0
) -> pa.Table:
    try:
        return con.sql(f"SELECT * FROM {source}").to_arrow_table()
    except duckdb.Error as error:
        reason = (columns and find_broken_line(path, columns)) or first_reason(error)
        raise DataError(f"{path.name} cannot be read: {reason}", table=table) from error


def raw_file(project: ProjectConfig, table: str) -> Path:
    """The file of a table; a dataset named without suffix is looked for under every one we read.

    Raises:
        ConfigurationError: both files are there, or the suffix is neither.
    """
    path = project.raw_path(table)
    if path.name.lower().endswith(_SUFFIXES):
        return path
    if path.suffix and path.is_file():
        raise ConfigurationError(f"{_shown(project, path)}: only {', '.join(_SUFFIXES)} are read")
    found = [twin for suffix in _SUFFIXES if (twin := Path(f"{path}{suffix}")).is_file()]
    if len(found) > 1:
        names = " and ".join(_shown(project, twin) for twin in found)
        raise ConfigurationError(f"datasets.{table}: {names} are both there; give a path")
    return found[0] if found else path


@contextmanager
def _unpacked(path: Path, table: str, shown: str) -> Iterator[Path]:
    """The file as plain text, which is gone afterwards if it was packed.

    Raises:
        DataError: the archive is damaged, or holds not exactly one file.
    """
    if path.suffix.lower() == ".csv":
        yield path
        return
    with TemporaryDirectory() as folder:
        text = Path(folder) / "table.csv"
        try:
            _unpack(path, text, table, shown)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(f"{shown} is a damaged archive: {error}", table=table) from error
        yield text


def _unpack(path: Path, text: Path, table: str, shown: str) -> None:
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as packed, text.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        return
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise DataError(f"{shown} must hold one file, it holds {len(names)}", table=table)
        with archive.open(names[0]) as packed, text.open("wb") as plain:
            shutil.copyfileobj(packed, plain)


def _keys(project: ProjectConfig, table: str) -> set[str]:
    dataset = project[table]
    return {*dataset.primary_key, *(name for key in dataset.foreign_keys for name in key.columns)}


def _store_csv(
    path: Path, table: str, shown: str, store: Store, keys: set[str]
) -> tuple[list[str], int]:
    assert_utf8(path, table=table, shown=shown)
    header = read_header(path, table=table, shown=shown)
    with store.write() as con:
        try:
            columns = _store_rows(con, table, shown, _csv_source(path, []))
            merged = _merged_keys(con, table, keys)
            if merged:
                columns = _store_rows(con, table, shown, _csv_source(path, merged))
        except duckdb.Error as error:
            reason = find_broken_line(path, len(header)) or first_reason(error)
            raise DataError(f"{shown} cannot be read: {reason}", table=table) from error
        if columns[0] != header:
            reason = find_broken_line(path, len(header)) or f"the header was read as {columns[0]}"
            raise DataError(f"{shown} cannot be read: {reason}", table=table)
        return columns


def _csv_source(path: Path, texts: list[str]) -> str:
    """How DuckDB reads a CSV file, with columns in ``texts`` left as they are written."""
    types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in texts)
    return (
        f"read_csv({literal(str(path))}, delim = ',', quote = '\"', escape = '\"', header = true, "
        "skip = 0, comment = '', sample_size = -1, nullstr = ['', '\\N'], null_padding = false, "
        f"ignore_errors = false, strict_mode = true, auto_type_candidates = {_CSV_TYPES}, "
        f"types = {{{types}}})"
    )


def _merged_keys(con: duckdb.DuckDBPyConnection, table: str, keys: set[str]) -> list[str]:
    """Key columns better left as text: DOUBLE whose whole numbers are too long for it, so that
    different keys merge; BOOLEAN, where rows happen to name no other key than t, f, true, false.
    """
    kinds = table_columns(con, f"raw.{table}")
    letters = [name for name in kinds if name in keys and kinds[name] == "BOOLEAN"]
    wide = [name for name in kinds if name in keys and kinds[name] == "DOUBLE"]
    longest = [f"coalesce(max(abs({quote(name)})), 0)" for name in wide]
    if not wide:
        return letters
    found = con.execute(f"SELECT {', '.join(longest)} FROM {quote_table(f'raw.{table}')}")
    sizes = zip(wide, found.fetchall()[0], strict=True)
    return [*letters, *(name for name, size in sizes if size >= _EXACT_IN_DOUBLE)]


def _store_parquet(path: Path, table: str, shown: str, store: Store) -> tuple[list[str], int]:
    _assert_parquet(path, table, shown)
    with store.write() as con:
        try:
            names = con.sql(f"SELECT * FROM read_parquet({literal(str(path))}) LIMIT 0").columns
            assert_column_names(list(names), table=table, shown=shown)
            return _store_rows(con, table, shown, f"read_parquet({literal(str(path))})")
        except duckdb.Error as error:
            reason = first_reason(error)
            raise DataError(f"{shown} is a damaged Parquet file: {reason}", table=table) from error


def _assert_parquet(path: Path, table: str, shown: str) -> None:
    with path.open("rb") as file:
        if file.read(4) != _PARQUET_MARK:
            raise DataError(f"{shown} is not a Parquet file", table=table)
        file.seek(-4, 2)
        if file.read() != _PARQUET_MARK:
            raise DataError(f"{shown} is a truncated Parquet file: its end is missing", table=table)


def _store_rows(
    con: duckdb.DuckDBPyConnection, table: str, shown: str, source: str
) -> tuple[list[str], int]:
    columns = list(query_columns(con, f"SELECT * FROM {source}", table))
    select = f"SELECT {quote_all(columns)}, row_number() OVER () - 1 AS {ROW} FROM {source}"
    rows = store_rows(con, f"raw.{table}", select)
    if rows == 0:
        raise DataError(f"{shown} has a header but no rows", table=table)
    return columns, rows


def first_reason(error: duckdb.Error) -> str:
    """The first line of what DuckDB says, without its kind."""
    told = re.sub(r"^[A-Za-z ]*Error: ", "", str(error)).splitlines()
    return told[0].removeprefix("CSV Error on ").lower() if told else type(error).__name__


def _shown(project: ProjectConfig, path: Path) -> str:
    try:
        return path.resolve().relative_to(project.root.resolve()).as_posix()
    except ValueError:
        return str(path)
