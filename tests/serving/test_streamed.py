"""Streaming: predictions in chunks from a database on disk are those made at once in memory."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from tiny import as_arrow, moment, tiny_frames
from tiny_artifact import CUTOFF, frames, predictor

from nexus_model.align.assemble import database_in, load_frame
from nexus_model.schema import ConfigurationError, DataError
from nexus_model.serve.flags import sample_flags
from nexus_model.serve.predictor import Predictor
from nexus_model.serve.streamed import Streamed

KINDS = pytest.mark.parametrize("static", [False, True], ids=["in time", "static"])
SIZES = pytest.mark.parametrize("size", [4, 1000])


def streamed(folder, asked, given, cutoff, as_of=None):
    con = database_in(folder, "200MB")
    for table in asked.artifact.recipe.raw:
        load_frame(con, table, given[table.name])
    return Streamed(asked, con, cutoff, as_of)


def together(asked, found, size):
    return pa.concat_tables([asked.answers_of(read)[0] for read in found.chunks(size)])


def assert_alike(one, other):
    assert one.drop_columns("prediction") == other.drop_columns("prediction")
    predicted = (table["prediction"].to_numpy() for table in (one, other))
    np.testing.assert_allclose(*predicted, rtol=1e-6)


@SIZES
@KINDS
def test_chunks_answer_as_everybody_at_once(tmp_path, static, size):
    asked, cutoff = predictor(static=static), None if static else CUTOFF
    found = streamed(tmp_path, asked, frames(), cutoff)
    assert_alike(together(asked, found, size), asked.predict(frames(), cutoff))


@pytest.mark.parametrize("seed", [5, 6])
def test_older_data_is_read_alike_in_chunks(tmp_path, seed):
    asked, as_of = predictor(), moment(150)
    given = as_arrow(asked.artifact.recipe, tiny_frames(seed))
    found = streamed(tmp_path, asked, given, CUTOFF, as_of)
    assert_alike(together(asked, found, 3), asked.predict(given, CUTOFF, as_of))


def test_a_chunk_holds_the_rows_its_entities_see_and_no_other(tmp_path):
    found = streamed(tmp_path, predictor(), frames(), CUTOFF)
    first = next(found.chunks(2)).tensors
    seen = {name: set() for name in first.tables}
    for path, index in zip(first.paths, first.indexes, strict=True):
        seen[path.table] |= set(index.rows_N.tolist())
    assert len(seen["orders"]) == first.tables["orders"].rows < len(frames()["orders"])


def test_flags_are_those_of_everybody_at_once(tmp_path):
    asked = predictor()
    recipe, tokenizer = asked.artifact.recipe, asked.artifact.tokenizer
    whole = asked.read_several([asked.question(frames(), CUTOFF)])
    parts = streamed(tmp_path, asked, frames(), CUTOFF).chunks(3)
    flags = [flag for part in parts for flag in sample_flags(recipe, tokenizer, part)]
    assert flags == sample_flags(recipe, tokenizer, whole)


def test_nobody_asked_about_is_one_empty_chunk(tmp_path):
    given = {name: frame.slice(0, 0) for name, frame in frames().items()}
    [found] = streamed(tmp_path, predictor(), given, CUTOFF).chunks()
    assert len(found.keys[0]) == 0


def test_a_repeated_key_is_refused(tmp_path):
    given = frames()
    given["customers"] = pa.concat_tables([given["customers"]] * 2)
    with pytest.raises(DataError, match="not unique"):
        streamed(tmp_path, predictor(), given, CUTOFF)


def test_a_model_that_reads_cohorts_is_not_taken_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "reads_cohorts", True)
    with pytest.raises(ConfigurationError, match="cohorts"):
        streamed(tmp_path, predictor(), frames(), CUTOFF)


def test_the_database_reaches_nothing_once_it_is_filled(tmp_path):
    found = streamed(tmp_path, predictor(), frames(), CUTOFF)
    with pytest.raises(duckdb.PermissionException):
        found.con.sql(f"select * from read_text('{__file__}')").fetchall()
