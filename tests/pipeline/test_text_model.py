"""A shop whose tickets a sentence model reads: from raw files to predictions from raw files."""

import csv
import os
import shutil

import polars as pl
import pytest
from tiny_sentences import sentence_folder
from typer.testing import CliRunner

from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import ConfigurationError
from nexus_model.sentences.model_folder import open_folder
from nexus_model.sentences.onnx_sentences import OnnxSentences
from nexus_model.serve.predictor import load_model
from nexus_pipeline import cli
from nexus_pipeline.defs.resources import default_resources
from nexus_pipeline.inspection import describe_artifact, told_artifact
from nexus_pipeline.serving.live_model import FileSource
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.text_model import (
    text_model_said,
    text_model_version,
    text_readers,
    text_settings,
)
from nexus_pipeline.steps.tokenize_task import open_tensors_of, tokenize_task
from tests.pipeline.conftest import Shop, in_its_home, run_shop

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
STAGES = ("validated", "aligned", "tokenized", "trained", "optimized")


@pytest.fixture(scope="module")
def read(made, tmp_path_factory):
    """The shop that was run, run again where a sentence model is named; and its model's folder."""
    parent = tmp_path_factory.mktemp("sentences")
    shutil.copytree(made.folder, parent / "shop")
    shutil.copytree(made.home, parent / "home")
    shop = Shop(parent / "shop", parent / "home")
    shop.say("- name: tickets.csv\n", "- name: tickets.csv\n    text_columns: mood\n")
    with shop.file.open("a", encoding="utf-8") as text:
        text.write("text_model: models/tiny\n")
    folder = sentence_folder(shop.folder / "models" / "tiny")
    run_shop(shop, stages=STAGES)
    return shop, folder


@pytest.fixture(autouse=True)
def at_home(read, monkeypatch):
    """Nothing but the project says where the model is, and its home is the shop's."""
    monkeypatch.delenv("NEXUSFLOW_TEXT_MODEL", raising=False)
    patch = in_its_home(read[0])
    yield
    patch.undo()


def predicted(shop, name, *options):
    """What the command says, and the rows it writes."""
    output = shop.folder / name
    said = ["--model", shop.artifact, "--data", shop.raw, "--output", output, *options]
    found = CliRunner().invoke(cli.app, ["predict", *map(str, said)])
    return found, list(csv.DictReader(output.open())) if output.is_file() else []


def test_only_what_reads_texts_is_made_anew(read, made):
    shop, folder = read
    (column,) = NexusFlowModelArtifact.load(shop.artifact).tokenizer["tickets"].text
    assert column.model_sha256 == open_folder(folder).sha256
    described = describe_artifact(shop.artifact)
    assert described["sentence_models"] == {f"tickets.{column.name}": column.model_sha256}
    assert f"by the sentence model {column.model_sha256}" in told_artifact(described)
    same = [key for key, record in shop.records().items() if record == made.record(key)]
    assert {"raw/tickets", "validated/orders"} <= set(same)
    assert not {"validated/tickets", "tokenized/churned", "trained/churned"} & set(same)


def test_predictions_from_raw_files_need_the_model_and_say_so(read, monkeypatch):
    shop, folder = read
    refused, _ = predicted(shop, "refused.csv")
    assert refused.exit_code == 2
    assert "is read by the sentence model" in refused.output
    assert "tickets." in refused.output
    assert "NEXUSFLOW_TEXT_MODEL" in refused.output
    found, rows = predicted(shop, "one.csv", "--text-model", folder)
    assert found.exit_code == 0, found.output
    assert len(rows) == pl.read_csv(shop.raw / "customers.csv").height
    assert len({row["prediction"] for row in rows}) > 10
    monkeypatch.setenv("NEXUSFLOW_TEXT_MODEL", str(folder))
    _, chunked = predicted(shop, "chunked.csv", "--chunk", 40)
    for row, other in zip(rows, chunked, strict=True):
        assert float(row["prediction"]) == pytest.approx(float(other["prediction"]), abs=1e-6)


def test_a_server_says_what_it_lacks_before_it_serves(read):
    shop, folder = read
    assert FileSource(shop.artifact, folder).load("").predictor.reader.place == str(folder)
    with pytest.raises(ConfigurationError, match="no model is given"):
        FileSource(shop.artifact).load("")


def test_what_loads_an_artifact_without_the_project_is_told_where_the_model_is(read):
    shop, folder = read
    with text_model_said(shop.project):
        assert load_model(shop.artifact).reader.place == str(folder)
    assert "NEXUSFLOW_TEXT_MODEL" not in os.environ


def test_another_model_is_refused_with_both_digests(read, tmp_path):
    other = sentence_folder(tmp_path, seed=3)
    refused, _ = predicted(read[0], "other.csv", "--text-model", other)
    assert refused.exit_code == 2
    for folder in (read[1], other):
        assert open_folder(folder).sha256 in refused.output


def test_tokenizing_again_computes_no_vector(read, monkeypatch):
    shop, _ = read
    tensors, _ = open_tensors_of(shop.project, "churned")
    before = tensors.tables["tickets"].digest()
    assert tensors.tables["tickets"].vectors_RCZ.any()

    def never(*_):
        raise AssertionError("a text was read again")

    monkeypatch.setattr(OnnxSentences, "vectors", never)
    tokenize_task(shop.project, "churned", default_resources(shop.project)["store"].store())
    tensors, _ = open_tensors_of(shop.project, "churned")
    assert tensors.tables["tickets"].digest() == before


def test_tokens_depend_on_the_models_content_and_on_who_reads(read, tmp_path):
    project, database = read[0].project, read_recipe(read[0].project, "churned").database
    other = project.model_copy(update={"text_model": str(sentence_folder(tmp_path, seed=3))})
    assert text_model_version(project) != text_model_version(other)
    assert list(text_readers(project, database)) == ["tickets"]
    kept = tuple(d.model_copy(update={"sentence_vectors": False}) for d in project.datasets)
    without = project.model_copy(update={"datasets": kept})
    assert text_readers(without, database) == {}
    assert text_settings(without) != text_settings(project)
    none = project.model_copy(update={"text_model": None})
    assert (text_model_version(none), text_settings(none)) == ({}, {})
