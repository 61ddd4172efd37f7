"""A text column that a sentence model reads: from its cells to an artifact that predicts."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError
from tiny import as_arrow, moment, stirred, tiny_frames, tiny_model
from tiny_sentences import WIDTH, CountingReader, opened, sentence_database, sentence_folder

from nexus_model import NexusFormer
from nexus_model import load_model as api_load_model
from nexus_model.api.fit_frames import Preparation
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.encode.choose import FTTransformerConfig, MLPConfig, StandardConfig, TableConfig
from nexus_model.encode.sentence_cells import SentenceCells
from nexus_model.encode.table_encoder import TableEncoder
from nexus_model.encode.tabnet import TabNetConfig
from nexus_model.encode.text_cells import TextConfig
from nexus_model.encode.time_series import TimeSeriesConfig
from nexus_model.explain.exchanged import own_rows, with_column_of
from nexus_model.optimize.flat import FlatNetwork, flatten, layout_of
from nexus_model.schema import (
    ColumnSpec,
    ConfigurationError,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskSpec,
)
from nexus_model.sentences.find_reader import TextModelPlace, find_place
from nexus_model.serve.predictor import Predictor, load_model
from nexus_model.tokenize.batch import TableRows, build_batch
from nexus_model.tokenize.statistics import TableTokenizer, Tokenizer
from nexus_model.train.carry import carry_weights
from nexus_model.train.config import TrainingConfig
from nexus_model.train.masked_cells import hide_cells

CUTOFF = moment(180)
ENCODERS = [
    StandardConfig(heads=2), FTTransformerConfig(heads=2), MLPConfig(), TabNetConfig(),
    TextConfig(heads=2), TimeSeriesConfig(heads=2),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sentence_folder(tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="module")
def tiny(folder):
    return sentence_database(opened(folder))


def batch_of(tiny):
    return build_batch(tiny.tensors, tiny.every_B, 2)


def artifact(tiny):
    """The artifact of a model none of whose weights is zero."""
    model = stirred(tiny_model(tiny))
    return NexusFlowModelArtifact(tiny.recipe, tiny.tokenizer, model.config, model.state_dict())


def test_only_the_texts_become_vectors(tiny):
    tensors = tiny.tensors.tables
    assert tensors["tickets"].vectors_RCZ.shape[1:] == (1, WIDTH)
    assert tensors["tickets"].text_RCL.shape[1:] == (0, 0)
    others = [rows.vectors_RCZ.size for name, rows in tensors.items() if name != "tickets"]
    assert len(others) > 3
    assert not any(others)


def test_the_tokenizer_says_which_model_and_is_the_same_from_json(tiny, folder):
    read = Tokenizer.model_validate_json(tiny.tokenizer.model_dump_json())
    assert read == tiny.tokenizer
    (column,) = read["tickets"].sentence_columns
    assert column.model_sha256 == opened(folder).model_sha256
    assert read["tickets"].subword_columns == ()


def test_texts_of_a_table_are_read_in_one_way():
    vectors = {"name": "a", "width": 8, "model_sha256": "0" * 64}
    words = {"name": "b", "length": 4, "subwords": {}}
    with pytest.raises(ValidationError, match="all texts of table t must be read in one way"):
        TableTokenizer.model_validate({"table": "t", "timed": False, "text": [vectors, words]})


def test_a_cell_is_a_line_of_the_vector_and_a_missing_one_is_learned():
    cells, vectors_RCZ = stirred(SentenceCells(2, 5, 8)), torch.randn(7, 2, 5)
    vectors_RCZ[3, 1] = 0
    found = cells(vectors_RCZ)
    normed = cells.norm(vectors_RCZ)
    torch.testing.assert_close(found[0, 1], cells.line(normed[0, 1]) + cells.bias_CD[1])
    torch.testing.assert_close(found[3, 1], cells.missing_CD[1])
    torch.testing.assert_close(found[2:3], cells(vectors_RCZ[2:3]))
    assert cells(vectors_RCZ[:0]).shape == (0, 2, 8)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.kind)
def test_every_encoder_reads_it_and_every_weight_learns(encoder):
    config = TableConfig(encoder=encoder)
    column = {"name": "a", "width": 5, "model_sha256": "0" * 64}
    told = {"table": "t", "timed": False, "text": [column, column | {"name": "b"}]}
    encode = stirred(TableEncoder(TableTokenizer.model_validate(told), config, 8, 0.0)).train()
    rows = batch_of_vectors(torch.randn(9, 2, 5))
    rows.vectors_RCZ[:4, 0] = 0
    (encode(rows) * torch.randn(9, 8)).sum().backward()
    cells = encode.cells.sentences
    assert all(weight.grad is not None and weight.grad.any() for weight in cells.parameters())
    one = batch_of_vectors(rows.vectors_RCZ[5:6])
    torch.testing.assert_close(encode.eval()(rows)[5:6], encode(one), atol=1e-6, rtol=0)


def batch_of_vectors(vectors_RCZ):
    """Rows of a table that has texts alone."""
    count = len(vectors_RCZ)
    return TableRows(
        numerical_RC=torch.zeros(count, 0),
        present_RC=torch.zeros(count, 0, dtype=torch.bool),
        categorical_RC=torch.zeros(count, 0, dtype=torch.int64),
        temporal_RCF=torch.zeros(count, 0, 5),
        text_RCL=torch.zeros(count, 0, 0, dtype=torch.int64),
        vectors_RCZ=vectors_RCZ,
        parents_RP=torch.zeros(count, 0, dtype=torch.int64),
        ids_R=torch.arange(count),
    )


def test_the_network_reads_the_texts_and_the_flat_one_reads_the_same(tiny):
    model, batch = stirred(tiny_model(tiny)), batch_of(tiny)
    rows = batch.tables["tickets"]
    silent = rows._replace(vectors_RCZ=torch.zeros_like(rows.vectors_RCZ))
    said = model(batch)
    assert not torch.allclose(
        said, model(batch._replace(tables=batch.tables | {"tickets": silent}))
    )
    layout = layout_of(model, batch)
    assert any(port.name.endswith("vectors_RCZ") for port in layout.ports)
    flat = FlatNetwork(model, layout)(*flatten(batch, layout))
    torch.testing.assert_close(flat, said, atol=1e-5, rtol=0)


def test_hidden_texts_are_missing_ones(tiny):
    rows = batch_of(tiny).tables["tickets"]
    generator = torch.Generator().manual_seed(0)
    found = hide_cells(rows, tiny.tokenizer["tickets"], 0.5, generator).rows.vectors_RCZ
    gone = (found == 0).all(-1)
    assert 0 < gone.sum() < gone.numel()
    assert torch.equal(found[~gone], rows.vectors_RCZ[~gone])


def test_a_text_is_exchanged_like_any_cell(tiny):
    own, asked = own_rows(tiny.tensors, tiny.every_B, 2), tiny.every_B
    before = with_column_of(own, asked, asked, "tickets", 0).tables["tickets"].vectors_RCZ
    after = (
        with_column_of(own, asked, np.roll(asked, 1), "tickets", 0).tables["tickets"].vectors_RCZ
    )
    assert before.shape == after.shape
    assert not torch.equal(before, after)


def test_weights_are_carried_where_the_same_model_reads(tiny, tmp_path):
    part = "database.tables.tickets.cells.sentences.line.weight"
    learned = stirred(tiny_model(tiny)).state_dict()
    assert part in carry_weights(tiny_model(tiny), tiny.tokenizer, learned, tiny.tokenizer)
    other = sentence_database(opened(tmp_path, seed=1)).tokenizer
    assert part not in carry_weights(tiny_model(tiny), other, learned, tiny.tokenizer)


def test_a_stored_model_predicts_what_it_was_trained_on(tiny, folder, tmp_path):
    made = artifact(tiny)
    made.save(tmp_path / "model.nxf")
    loaded = load_model(
        tmp_path / "model.nxf", text_model=TextModelPlace(folder, tmp_path / "kept")
    )
    frames = as_arrow(tiny.recipe, tiny_frames())
    found = loaded.predict(frames, CUTOFF)
    assert list((tmp_path / "kept").glob("*/*.vectors.npy"))
    fresh = Predictor(made, CountingReader(opened(folder)))
    assert found.equals(fresh.predict(frames, CUTOFF))
    assert set(fresh.reader.asked) == {t for t in frames["tickets"]["body"].to_pylist() if t}
    blank = frames["tickets"].drop_columns("body").append_column("body", [[None] * 17])
    silent = loaded.predict(frames | {"tickets": blank}, CUTOFF)
    assert not np.allclose(silent["prediction"], found["prediction"])


def test_a_fitted_model_reads_texts_by_the_folder_it_was_given(folder, tmp_path):
    people = pa.table({"id": range(40), "content": [0, 1] * 20})
    words = [("bad", "very good", None)[at % 3] for at in range(80)]
    notes = pa.table({"id": range(80), "person_id": [at // 2 for at in range(80)], "body": words})
    key = ForeignKey(columns=("person_id",), references_table="people", references_columns=("id",))
    body = ColumnSpec(name="body", semantic=SemanticType.TEXT)
    tables = (
        TableSpec(name="people", primary_key=("id",)),
        TableSpec(name="notes", primary_key=("id",), foreign_keys=(key,), columns=(body,)),
    )
    task = TaskSpec(name="t", kind="binary", entity_table="people", target_column="content")
    frames, training = {"people": people, "notes": notes}, TrainingConfig(epochs=1, patience=1)
    model = NexusFormer(width=8, heads=2)
    said = Preparation(text_model=str(folder))
    model.fit(frames, tables, task, training=training, preparation=said)
    model.save(tmp_path / "model.nxf")
    found = api_load_model(tmp_path / "model.nxf", text_model=folder).predict(frames)
    assert found.equals(model.predict(frames))
    assert model.artifact.tokenizer["notes"].sentence_columns


def test_the_folder_is_the_one_that_is_said_or_the_environments(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("NEXUSFLOW_TEXT_MODEL", str(folder))
    monkeypatch.setenv("NEXUS_HOME", str(tmp_path))
    assert find_place(None) == TextModelPlace(folder, tmp_path / "text_vectors")
    assert find_place(tmp_path).folder == tmp_path
    monkeypatch.delenv("NEXUSFLOW_TEXT_MODEL")
    monkeypatch.delenv("NEXUS_HOME")
    assert find_place(None) is None
    assert find_place(folder) == TextModelPlace(folder)


def test_no_model_or_another_is_refused_with_both_digests(tiny, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("NEXUSFLOW_TEXT_MODEL", raising=False)
    artifact(tiny).save(tmp_path / "model.nxf")
    own = opened(folder).model_sha256
    with pytest.raises(
        ConfigurationError, match=rf"tickets\.body .*{own} .*, and no model is given"
    ):
        load_model(tmp_path / "model.nxf")
    other = sentence_folder(tmp_path / "other", seed=1)
    told = rf"{own} .* {other} is {opened(tmp_path / 'same', seed=1).model_sha256}"
    with pytest.raises(ConfigurationError, match=told):
        load_model(tmp_path / "model.nxf", text_model=other)
    with pytest.raises(ConfigurationError, match="no model is given"):
        Predictor(artifact(tiny)).predict(as_arrow(tiny.recipe, tiny_frames()), CUTOFF)
