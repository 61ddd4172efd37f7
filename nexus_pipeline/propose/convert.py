"""Convert once: a table the raw stage cannot read as it is becomes Parquet in the new project."""

import csv
import gzip
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, assert_never, cast

import duckdb

from nexus_model.schema import DataError
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.propose.source import Form, Source
from nexus_pipeline.propose.text_form import TextForm, write_plain
from nexus_pipeline.settings.dataset import DatasetConfig
from nexus_pipeline.settings.task import TargetConfig
from nexus_pipeline.steps.read_raw import ROW, RawTable, read_raw
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.names import literal, quote, quote_table
from nexus_pipeline.storage.tables import table_columns

_BATCH = 10_000
_EXACT_IN_DOUBLE = 2**53
_SQLITE_TYPES = (
    ("BOOL", "BIGINT"), ("INT", "BIGINT"), ("REAL", "DOUBLE"), ("FLOA", "DOUBLE"),
    ("DOUB", "DOUBLE"), ("NUM", "DOUBLE"), ("DEC", "DOUBLE"), ("DATE", "TIMESTAMP"),
    ("TIME", "TIMESTAMP"),
)  # fmt: skip


def read_as_it_is(table: str, file: Path, store: Store) -> RawTable:
    """``raw.<table>`` as the raw stage of the project will make it.

    Raises:
        DataError: the raw stage cannot read the file; says why.
    """
    read = read_raw(_reading(table, file), table, store)
    with store.read() as con:
        wide = _too_long_for_numbers(con, table)
    # Such columns stay text once they are keys, and numbers this long are nothing else.
    return read_raw(_reading(table, file, wide), table, store) if wide else read


def convert(source: Source, to: Path, store: Store) -> tuple[Path, list[str]]:
    """Write ``<to>/<table>.parquet``; its path, and what was changed on the way.

    Raises:
        DataError: the rows cannot be read; names the line.
    """
    to.mkdir(parents=True, exist_ok=True)
    target = to / f"{source.table}.parquet"
    match source.form:
        case Form.DUCKDB:
            _copy_duckdb(source, target)
            return target, []
        case Form.SQLITE:
            _copy_sqlite(source, target)
            return target, []
        case Form.ZIP if source.member.lower().endswith(".parquet"):
            with _opened(source) as packed, target.open("wb") as plain:
                shutil.copyfileobj(packed, plain)
            return target, []
        case Form.TEXT | Form.ZIP | Form.AS_IS:
            return target, _copy_text(source, target, store)
        case _ as unreachable:
            assert_never(unreachable)


def write_parquet(con: duckdb.DuckDBPyConnection, select: str, target: Path) -> None:
    """The rows of a SELECT as a Parquet file, which is there whole or not at all."""
    partial = target.with_suffix(".partial")
    con.execute(f"COPY ({select}) TO {literal(str(partial))} (FORMAT parquet)")
    partial.replace(target)


def _reading(table: str, file: Path, keys: tuple[str, ...] = ()) -> ProjectConfig:
    return ProjectConfig(
        project_name="profile",
        datasets=(DatasetConfig(name=table, path=str(file.resolve()), primary_key=keys),),
        target=TargetConfig(target_table=table, target_column="unknown"),
    )


def _too_long_for_numbers(con: duckdb.DuckDBPyConnection, table: str) -> tuple[str, ...]:
    kinds = table_columns(con, f"raw.{table}")
    doubles = [name for name, kind in kinds.items() if kind == "DOUBLE"]
    if not doubles:
        return ()
    parts = ", ".join(
        f"min(abs({quote(name)})) > {_EXACT_IN_DOUBLE} AND bool_and({quote(name)} = "
        f"round({quote(name)}))"
        for name in doubles
    )
    found = con.execute(f"SELECT {parts} FROM {quote_table(f'raw.{table}')}").fetchall()[0]
    return tuple(name for name, wide in zip(doubles, found, strict=True) if wide)


def _copy_text(source: Source, target: Path, store: Store) -> list[str]:
    form = TextForm(encoding=source.encoding, delimiter=source.delimiter, header=source.header)
    with TemporaryDirectory() as folder:
        plain = Path(folder) / "table.csv"
        with _opened(source) as file:
            told = write_plain(file, form, plain, source.table)
        read_as_it_is(source.table, plain, store)
    with store.read() as con:
        table = quote_table(f"raw.{source.table}")
        write_parquet(con, f"SELECT * EXCLUDE ({ROW}) FROM {table} ORDER BY {ROW}", target)
    return told


@contextmanager
def _opened(source: Source) -> Iterator[IO[bytes]]:
    if source.form is Form.ZIP:
        with zipfile.ZipFile(source.file) as archive, archive.open(source.member) as file:
            yield file
    elif source.file.name.lower().endswith(".gz"):
        with gzip.open(source.file) as packed:
            yield cast("IO[bytes]", packed)
    else:
        with source.file.open("rb") as file:
            yield file


def _copy_duckdb(source: Source, target: Path) -> None:
    schema, _, name = source.member.partition(".")
    with duckdb.connect() as con:
        con.execute(f"ATTACH {literal(str(source.file))} AS given (READ_ONLY)")
        write_parquet(con, f"SELECT * FROM given.{quote(schema)}.{quote(name)}", target)


def _copy_sqlite(source: Source, target: Path) -> None:
    """By way of text, in batches: SQLite keeps a type per value, not per column."""
    file = f"{source.file.resolve().as_uri()}?mode=ro"
    with TemporaryDirectory() as folder, closing(sqlite3.connect(file, uri=True)) as con:
        declared = {
            row[1]: row[2] for row in con.execute(f"PRAGMA table_info({quote(source.member)})")
        }
        plain = Path(folder) / "table.csv"
        rows = con.execute(f"SELECT * FROM {quote(source.member)}")
        with plain.open("w", encoding="utf-8", newline="") as text:
            writer = csv.writer(
                text, quoting=csv.QUOTE_NOTNULL if hasattr(csv, "QUOTE_NOTNULL") else 0
            )
            writer.writerow(declared)
            while batch := rows.fetchmany(_BATCH):
                writer.writerows([[_cell(value) for value in row] for row in batch])
        with duckdb.connect() as con_to:
            read = (
                f"read_csv({literal(str(plain))}, all_varchar = true, header = true, delim = ',')"
            )
            con_to.execute(f"CREATE TABLE given AS SELECT * FROM {read}")
            if not con_to.sql("SELECT count(*) FROM given").fetchall()[0][0]:
                raise DataError("has no rows", table=source.table)
            write_parquet(con_to, f"SELECT {_typed(con_to, declared)} FROM given", target)


def _cell(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


def _typed(con: duckdb.DuckDBPyConnection, declared: dict[str, str]) -> str:
    """Every column in its declared type, where no value is lost by that."""
    parts = []
    for name, kind in declared.items():
        wanted = next((to for mark, to in _SQLITE_TYPES if mark in kind.upper()), "VARCHAR")
        column = quote(name)
        query = f"SELECT count({column}) - count(TRY_CAST({column} AS {wanted})) FROM given"
        lost = con.execute(query).fetchall()[0][0]
        parts.append(f"CAST({column} AS {'VARCHAR' if lost else wanted}) AS {column}")
    return ", ".join(parts)
