"""Predict from files: a folder of raw tables and a ``.nxf`` file in, predictions out.

Broken rows are answered too, and flagged: see ``nexus_model.serve.mended``.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from nexus_model.schema import ConfigurationError, DataError
from nexus_pipeline.steps.read_raw import find_file, text_rows
from nexus_pipeline.steps.stream_predictions import FLAGS, joined_flags

if TYPE_CHECKING:
    from nexus_model.serve.mended import RowFlag
    from nexus_model.serve.predictor import Predictor


class Predicted(NamedTuple):
    """Answers, how many rows of all tables have a flag, and the file that lists them, if any."""

    rows: int
    flagged_rows: int
    flags_file: Path | None


def predict_flagged(
    model: Path, data: Path, cutoff: str | None, output: Path, text_model: Path | None = None
) -> Predicted:
    """Write predictions for every row of the entity table, in its order, each with its flags.

    Rows of any table that have a flag are listed in ``<output>.flags.csv``, with the cell as it
    came; the file is removed if there are none. ``text_model`` is as ``load_model`` takes it.

    Raises:
        ConfigurationError: the output is neither CSV nor Parquet, the cutoff is no moment, or the
            sentence model is missing or another.
        DataError: the entity table's file is missing, or a file cannot be read.
    """
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    from nexus_model.serve.predictor import load_model

    _assert_suffix(output)
    predictor = load_model(model, text_model=text_model)
    recipe = predictor.artifact.recipe
    found_frames = {table.name: read_file(data, table.name) for table in recipe.raw}
    frames = {name: frame for name, frame in found_frames.items() if frame is not None}
    if recipe.entity.name not in frames:
        raise DataError(f"neither CSV nor Parquet of it is in {data}", table=recipe.entity.name)
    found, flags = answer_frames(predictor, frames, cutoff)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".csv":
        pa_csv.write_csv(joined_flags(found), output)
    else:
        pq.write_table(found, output)
    listed = output.with_name(f"{output.stem}.{FLAGS}.csv")
    listed.unlink(missing_ok=True)
    if flags:
        _write_flags(listed, flags)
    broken = {(flag.table, flag.row) for flag in flags}
    return Predicted(found.num_rows, len(broken), listed if flags else None)


def predict_chunks(
    model: Path,
    data: Path,
    cutoff: str | None,
    output: Path,
    chunk: int,
    text_model: Path | None = None,
) -> int:
    """Write predictions so many entities at a time, in memory that does not grow with their number.

    The database keeps ``NEXUS_STORE_MEMORY`` in memory, if that is set. Answers are those of
    ``Predictor.predict``, with flags of the rows each entity sees. Rows it refuses are refused here
    too, and nothing is written then.

    Raises:
        ConfigurationError: the output is neither CSV nor Parquet, the cutoff is no moment, the
            model reads cohorts, which chunks would take apart, or the sentence model is missing.
        DataError: a file is missing or cannot be read, a value does not cast, or keys repeat.
    """
    from nexus_model.serve.predictor import load_model
    from nexus_model.serve.streamed import Streamed
    from nexus_pipeline.steps.stream_predictions import MEMORY, filled_from_files, write_streamed

    _assert_suffix(output)
    predictor = load_model(model, text_model=text_model)
    recipe = predictor.artifact.recipe
    found = {table.name: find_file(data, table.name) for table in recipe.raw}
    files = {name: path for name, path in found.items() if path is not None}
    memory = os.environ.get("NEXUS_STORE_MEMORY") or MEMORY
    with filled_from_files(recipe, files, output.parent, memory) as (con, absent):
        return write_streamed(Streamed(predictor, con, cutoff, absent=absent), output, chunk)


def _assert_suffix(output: Path) -> None:
    if output.suffix not in {".csv", ".parquet"}:
        raise ConfigurationError(f"output must end in .csv or .parquet, got {output.name!r}")


def answer_frames(
    predictor: "Predictor", frames: dict[str, pa.Table], cutoff: str | None
) -> tuple[pa.Table, list["RowFlag"]]:
    """Predictions by row of the entity's frame with a column of flags, and all rows' flags."""
    from nexus_model.serve.flags import sample_flags
    from nexus_model.serve.mended import flags_of_rows, mend_frames

    recipe, tokenizer = predictor.artifact.recipe, predictor.artifact.tokenizer
    mended = mend_frames(recipe, tokenizer, frames)
    read = predictor.read_several([predictor.question(mended.frames, cutoff)])
    (found,) = predictor.answers_of(read)
    of_rows = flags_of_rows(mended.flags, recipe.entity.name, found.num_rows)
    seen = sample_flags(recipe, tokenizer, read)
    flags = [list(dict.fromkeys(own + of)) for own, of in zip(of_rows, seen, strict=True)]
    found = found.take(pa.array(mended.same_B))
    for name in mended.keys.column_names:
        found = found.set_column(found.column_names.index(name), name, mended.keys[name])
    return found.append_column(FLAGS, pa.array(flags, pa.list_(pa.string()))), mended.flags


def _write_flags(path: Path, flags: Sequence["RowFlag"]) -> None:
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["table", "row", "flag", "column", "value"])
        writer.writerows((f.table, f.row, f.flag, f.column, f.value) for f in flags)


def read_file(folder: Path, table: str) -> pa.Table | None:
    """A table's CSV (as text, to be cast by the model's own types) or Parquet file, if any."""
    path = find_file(folder, table)
    return None if path is None else text_rows(path, table)
