"""Predictions written as they are made: a chunk of entities after another, in bounded memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from nexus_model.align.assemble import database_in, load_frame, load_rows, named_frames
from nexus_model.align.relate import quoted
from nexus_model.schema import DataError
from nexus_pipeline.steps.read_raw import file_rows, first_reason
from nexus_pipeline.storage import Store

if TYPE_CHECKING:
    from nexus_model.align.recipe import Recipe
    from nexus_model.serve.predictor import Predictor
    from nexus_model.serve.reading import Read
    from nexus_model.serve.streamed import Streamed

FLAGS = "flags"
# What the database keeps of its tables; beside it stand the rows that one chunk sees.
MEMORY = "128MB"


def with_flags(predictor: "Predictor", read: "Read") -> pa.Table:
    """Predictions of the samples of one question, with a column of what to know of each."""
    from nexus_model.serve.flags import sample_flags

    flags = sample_flags(predictor.artifact.recipe, predictor.artifact.tokenizer, read)
    (found,) = predictor.answers_of(read)
    return found.append_column(FLAGS, pa.array(flags, pa.list_(pa.string())))


def write_streamed(streamed: "Streamed", output: Path, chunk: int) -> int:
    """Everybody's predictions and flags as CSV or Parquet, by the output's suffix; their number.

    In CSV flags are joined by semicolons. The file is there once it is whole.
    """
    parts = (with_flags(streamed.predictor, read) for read in streamed.chunks(chunk))
    partial = output.with_name(f".partial-{output.name}")
    try:
        rows = _write_parts(parts, partial, csv=output.suffix == ".csv")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _write_parts(parts: Iterator[pa.Table], file: Path, *, csv: bool) -> int:
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    rows, writer = 0, None
    try:
        for part in parts:
            found = joined_flags(part) if csv else part
            if writer is None:
                writer = (pa_csv.CSVWriter if csv else pq.ParquetWriter)(file, found.schema)
            writer.write_table(found)
            rows += found.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def joined_flags(found: pa.Table) -> pa.Table:
    """Flags as one text, as CSV keeps them."""
    texts = pa.array([";".join(cell) for cell in found[FLAGS].to_pylist()], pa.string())
    return found.set_column(found.column_names.index(FLAGS), FLAGS, texts)


@contextmanager
def filled_from_store(
    recipe: "Recipe", store: Store, beside: Path
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The validated tables under the recipe's types, in a database of their own.

    It is kept in a folder made in ``beside``, which is gone afterwards.
    """
    memory = store.limits.get("memory_limit", MEMORY)
    with _database_beside(beside, memory) as con:
        store.attach(con, "stored")
        for table in recipe.raw:
            load_rows(con, table, f"stored.validated.{quoted(table.name)}")
        con.execute("detach stored")
        yield con


@contextmanager
def filled_from_files(
    recipe: "Recipe", files: Mapping[str, Path], beside: Path, memory: str = MEMORY
) -> Iterator[tuple[duckdb.DuckDBPyConnection, frozenset[str]]]:
    """Raw files under the recipe's types, in a database of their own, and tables not given.

    Files are named by table. The database is kept in a folder made in ``beside``, and no more than
    ``memory`` of it in memory.

    Raises:
        DataError: the entity's table is missing, a file cannot be read, or a value does not cast.
    """
    named, absent = named_frames(recipe, files)
    with _database_beside(beside, memory) as con:
        for table in recipe.raw:
            if table.name in absent:
                empty = {column.name: pa.nulls(0) for column in table.columns}
                load_frame(con, table, pa.table(empty))
                continue
            path = named[table.name]
            try:
                with file_rows(path, table.name) as source:
                    load_rows(con, table, source)
            except duckdb.Error as error:
                told = f"{path.name} cannot be read: {first_reason(error)}"
                raise DataError(told, table=table.name) from error
        yield con, absent


@contextmanager
def _database_beside(beside: Path, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    beside.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".streaming-", dir=beside) as folder:
        con = database_in(Path(folder), memory)
        try:
            yield con
        finally:
            con.close()
