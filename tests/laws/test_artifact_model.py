"""The artifact predicts from raw frames alone, anywhere, in input order, and only from the past."""

import datetime as dt
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import CLASSES, DAYS, SIZES, as_arrow, moment, tiny_frames
from tiny_artifact import CUTOFF, artifact, frames, order, predicted, predictor, shop

from nexus_model.apply import predict_samples
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.optimize.int8 import quantize_weights
from nexus_model.schema import ArtifactError, TaskKind
from nexus_model.serve.predictor import load_model
from nexus_model.tokenize.batch import build_batch

CHILD = """
import sys
import pyarrow.parquet as pq
from nexus_model.serve.predictor import load_model

folder, cutoff = sys.argv[1:]
model = load_model(f"{folder}/model.nxf")
tables = [table.name for table in model.artifact.recipe.raw]
found = model.predict({name: pq.read_table(f"{folder}/{name}.parquet") for name in tables}, cutoff)
pq.write_table(found, f"{folder}/found.parquet")
"""


def test_a_fresh_process_in_another_time_zone_predicts_the_same(tmp_path):
    artifact().save(tmp_path / "model.nxf")
    for name, frame in frames().items():
        zoned = [
            frame[c].cast(pa.timestamp("us", "UTC")) if pa.types.is_timestamp(t) else frame[c]
            for c, t in zip(frame.column_names, frame.schema.types, strict=True)
        ]
        made = pa.Table.from_arrays(zoned, frame.column_names)
        pq.write_table(made, tmp_path / f"{name}.parquet")
    environment = os.environ | {"TZ": "Asia/Tokyo", "OMP_NUM_THREADS": "1", "PYTHONPATH": "."}
    command = [sys.executable, "-c", CHILD, str(tmp_path), CUTOFF.isoformat()]
    subprocess.run(command, env=environment, check=True)
    assert pq.read_table(tmp_path / "found.parquet").equals(predicted())


def test_an_artifact_saved_twice_has_the_same_bytes_and_hash(tmp_path):
    one, other = tmp_path / "one.nxf", tmp_path / "other.nxf"
    assert artifact().save(one) == artifact().save(other)
    assert one.read_bytes() == other.read_bytes()


def test_an_artifact_comes_back_with_all_it_was_given(tmp_path):
    given = artifact()
    given.metrics, given.lineage = {"auroc": 0.5}, {"commit": "abc"}
    given.save(tmp_path / "a.nxf")
    found = NexusFlowModelArtifact.load(tmp_path / "a.nxf")
    assert (found.recipe, found.tokenizer, found.config) == (
        given.recipe, given.tokenizer, given.config
    )  # fmt: skip
    assert (found.metrics, found.lineage, found.optimization) == (given.metrics, given.lineage, {})


def test_eight_bit_weights_predict_almost_the_same(tmp_path):
    def small(state):
        return quantize_weights(state, keep=lambda name: "embedding" in name)

    artifact(weights=small).save(tmp_path / "small.nxf")
    found = load_model(tmp_path / "small.nxf").predict(frames(), CUTOFF)
    moved = np.abs(found["prediction"].to_numpy() - predicted()["prediction"].to_numpy())
    assert 0 < moved.max() < 0.05


def test_weights_of_another_configuration_are_refused(tmp_path):
    wrong = artifact()
    wrong.config = wrong.config.model_copy(update={"width": 16})
    wrong.save(tmp_path / "wrong.nxf")
    with pytest.raises(ArtifactError, match="weights do not fit the configuration"):
        load_model(tmp_path / "wrong.nxf")


def asked_at_cutoff(tiny):
    """The samples that are asked at the cutoff."""
    cutoff_us = (CUTOFF - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    return np.flatnonzero(tiny.times.cutoff_B == cutoff_us)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_raw_frames_give_the_predictions_of_the_training_tensors(kind):
    tiny, asked = shop(kind), predictor(kind)
    chosen, task = asked_at_cutoff(tiny), tiny.recipe.task
    asked.model.double()  # so that what is compared is not how float32 sums are ordered
    truth = predict_samples(asked.model, tiny.tensors, chosen, task, tiny.tokenizer.label)
    found = asked.predict_rows(frames(), CUTOFF)
    np.testing.assert_allclose(found[tiny.times.entity_B[chosen]], truth, rtol=1e-10)


def test_raw_frames_give_the_batch_of_the_training_tensors_bit_by_bit():
    tiny, model, fed = shop(), predictor().model, []
    handle = model.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0]))
    predicted(frames(**order("customers", np.argsort(frames()["customers"]["id"]))))
    handle.remove()
    truth = build_batch(tiny.tensors, asked_at_cutoff(tiny), 2)
    pairs = [(fed[0].clock_BF, truth.clock_BF)]
    for name, rows in truth.tables.items():
        # The numbers of rows are left out: past windows are fewer when the future is not known.
        pairs += zip(fed[0].tables[name][:-1], rows[:-1], strict=True)
    for path, rows in zip(fed[0].paths, truth.paths, strict=True):
        pairs += zip(path, rows, strict=True)
    assert all(one.dtype is other.dtype and torch.equal(one, other) for one, other in pairs)


def test_a_static_task_predicts_what_the_training_tensors_give():
    tiny = shop(static=True)
    model = predictor(static=True)
    scale = tiny.tokenizer.label
    truth = predict_samples(model.model, tiny.tensors, tiny.every_B, tiny.recipe.task, scale)
    np.testing.assert_allclose(model.predict_rows(frames()), truth, rtol=1e-6)


@pytest.mark.parametrize("convert", [pa.Table.to_pandas, pl.from_arrow], ids=["pandas", "polars"])
def test_frames_of_any_kind_give_the_same_predictions(convert):
    given = {f"{name}.csv": convert(frame) for name, frame in frames().items()}
    assert predicted(given).equals(predicted())


def test_text_is_cast_to_the_models_own_types():
    given = {}
    for name, frame in frames().items():
        texts = [column.cast(pa.string()) for column in frame.columns]
        given[name] = pa.Table.from_arrays(texts, frame.column_names)
    assert predicted(given).equals(predicted())


def test_the_offset_of_a_moment_told_as_text_is_applied():
    orders = frames()["orders"].to_pandas()
    there = orders.placed_at.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    assert predicted(frames(orders=orders.assign(placed_at=there.astype(str)))).equals(predicted())


def test_predictions_come_in_the_order_of_the_entities():
    mixed = np.random.default_rng(0).permutation(SIZES["customers"])
    found = predicted(frames(**order("customers", mixed)))
    assert found["id"].to_pylist() == frames()["customers"]["id"].take(mixed).to_pylist()
    expected = predicted()["prediction"].to_numpy()[mixed]
    np.testing.assert_allclose(found["prediction"], expected, atol=1e-6)


@pytest.mark.parametrize("table", ["orders", "order_items", "tickets", "prices", "products"])
def test_the_order_of_other_rows_changes_nothing(table):
    mixed = np.random.default_rng(0).permutation(SIZES[table])
    assert predicted(frames(**order(table, mixed))).equals(predicted())


def test_rows_later_than_the_cutoff_change_nothing():
    given, early = tiny_frames(), moment(120)
    before = predicted(as_arrow(shop().recipe, given), early)
    for table, time, column in (
        ("orders", "placed_at", "total"),
        ("orders", "placed_at", "customer_id"),
        ("tickets", "opened_at", "body"),
        ("prices", "set_at", "level"),
    ):
        rows = zip(given[table][time], given[table][column], strict=True)
        given[table][column] = [3 if at > early else old for at, old in rows]
    given["tickets"]["body"] = [str(text) for text in given["tickets"]["body"]]
    assert predicted(as_arrow(shop().recipe, given), early).equals(before)


def test_columns_and_rows_the_model_does_not_know_change_nothing():
    more = frames()["orders"].append_column("mood", pa.array(["fine"] * SIZES["orders"]))
    assert predicted(frames(orders=more)).equals(predicted())


@pytest.mark.parametrize(
    "cutoff",
    [
        CUTOFF.isoformat(),
        CUTOFF.date(),
        CUTOFF.replace(tzinfo=dt.UTC),
        (CUTOFF + dt.timedelta(hours=2)).replace(tzinfo=dt.timezone(dt.timedelta(hours=2))),
    ],
    ids=["text", "date", "zoned", "elsewhere"],
)
def test_a_cutoff_may_be_told_in_several_ways(cutoff):
    assert predicted(cutoff=cutoff).equals(predicted())


def test_another_cutoff_is_another_question():
    found, other = predicted(), predicted(cutoff=moment(DAYS))
    assert not np.allclose(found["prediction"], other["prediction"], atol=1e-4)


def test_several_classes_are_told_with_their_probabilities():
    found = predictor(TaskKind.MULTICLASS).predict(frames(), CUTOFF)
    names = [f"probability_{name}" for name in CLASSES[TaskKind.MULTICLASS]]
    assert found.column_names == ["id", "prediction", *names]
    shares = np.stack([found[name].to_numpy() for name in names], axis=1)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    likeliest = [CLASSES[TaskKind.MULTICLASS][index] for index in shares.argmax(1)]
    assert found["prediction"].to_pylist() == likeliest


def test_nobody_asked_about_gives_no_predictions():
    given = frames(**order("customers", np.arange(0)))
    assert predicted(given).num_rows == 0
    assert len(predictor().predict_rows(given, CUTOFF)) == 0


def test_a_configuration_that_asks_for_terabytes_is_refused_before_they_are(tmp_path):
    wrong = artifact()
    wrong.config = wrong.config.model_copy(update={"width": 800_000})
    wrong.save(tmp_path / "wrong.nxf")
    with pytest.raises(ArtifactError, match=r"weights do not fit the configuration: \d+ differ"):
        load_model(tmp_path / "wrong.nxf")
