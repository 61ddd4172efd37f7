"""Prediction from broken files: every broken row is flagged, none is dropped, all are answered."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.shapes.journey import trained_file
from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import DataError
from nexus_model.serve.mended import mend_frames
from nexus_pipeline.predict_files import Predicted, predict_chunks, predict_flagged
from nexus_pipeline.project import load_project
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.read_raw import text_rows
from nexus_pipeline.storage import Store

CUSTOMERS = 60
QUICK = """\
training: {epochs: 1, batch_size: 64}
architecture: {global_embed_dim: 16, heads: 2, refinement_iterations: 1}
"""
Row = dict[str, str]
FIRST = "the first row's"
BREAKS: dict[str, dict[str, Row]] = {
    "customers": {
        "an empty cell": {"region": ""},
        "a category nobody knows": {"region": "N0rth!"},
        "words for a number": {"age": "forty"},
        "a number out of range": {"age": "4000000000"},
        "not a number": {"age": "nan"},
        "no key": {"customer_id": ""},
        "a key of another type": {"customer_id": "C-17"},
        "the key of another row": {"customer_id": "3"},
    },
    "orders": {
        "an orphan": {"customer_id": "987654"},
        "a key that is no number": {"customer_id": "somebody"},
        "no parent": {"customer_id": ""},
        "a date that is none": {"placed_at": "31/31/2025"},
        "no date": {"placed_at": ""},
        "a date out of range": {"placed_at": "9999-12-31"},
        "an endless amount": {"amount": "inf"},
        "words for an amount": {"amount": "12 EUR"},
        "no key": {"order_id": ""},
    },
    "tickets": {
        "no mood": {"mood": ""},
        "a new mood": {"mood": "�"},
        "twice": {"ticket_id": FIRST},
    },
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of few customers, trained for one epoch."""
    folder = create_project(tmp_path_factory.mktemp("broken"), "shop")
    write_shop(folder / "data/raw/shop", CUSTOMERS)
    with (folder / "nexusflow.yaml").open("a") as text:
        text.write(QUICK)
    project = load_project(folder / "nexusflow.yaml")
    trained_file(project, Store(folder / "store.duckdb", threads=1))
    return folder


def model(shop: Path) -> Path:
    return shop / "data/optimized/shop/churned/model.nxf"


def rows_of(shop: Path, table: str) -> list[Row]:
    with (shop / f"data/raw/shop/{table}.csv").open() as text:
        return list(csv.DictReader(text))


def written(folder: Path, table: str, rows: list[Row]) -> None:
    with (folder / f"{table}.csv").open("w", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def broken(shop: Path, to: Path, chosen: Callable[[str, int], list[int]]) -> dict[str, set[int]]:
    """The tables with the chosen rows broken, each in the next way of its table."""
    places: dict[str, set[int]] = {}
    for table, breaks in BREAKS.items():
        rows = rows_of(shop, table)
        places[table] = set(chosen(table, len(rows)))
        for number, place in enumerate(sorted(places[table])):
            rows[place] |= change(rows, list(breaks.values())[number % len(breaks)])
        written(to, table, rows)
    return places


def change(rows: list[Row], said: Row) -> Row:
    return {name: rows[0][name] if cell == FIRST else cell for name, cell in said.items()}


def a_fifth(table: str, rows: int) -> list[int]:
    # The row whose key others are given stays as it is.
    return [place for place in random.Random(table).sample(range(rows), rows // 5) if place > 3]


def flagged(found: Predicted, *kinds: str) -> dict[str, set[int]]:
    """Rows by table that have a flag, of these kinds if any are given."""
    assert found.flags_file is not None
    listed = pl.read_csv(found.flags_file, infer_schema=False)
    if kinds:
        listed = listed.filter(pl.col("flag").is_in(kinds))
    return {table: set(listed.filter(table=table)["row"].cast(int)) for table in BREAKS}


def test_a_fifth_of_all_rows_broken_is_answered_flagged_and_none_dropped(shop, tmp_path):
    places = broken(shop, tmp_path, a_fifth)
    found = predict_flagged(model(shop), tmp_path, None, tmp_path / "out.parquet")
    answers = pl.read_parquet(tmp_path / "out.parquet")
    assert found.rows == answers.height == CUSTOMERS
    assert answers["prediction"].is_finite().all()
    named_broken_rows = flagged(found, "orphan")
    for table, rows in flagged(found).items():
        assert places[table] <= rows <= places[table] | named_broken_rows[table]
    own = {place for place, flags in enumerate(answers["flags"]) if set(map(kind, flags)) & ROWS}
    assert own >= places["customers"]


ROWS = {
    "unreadable", "missing", "far_outside", "unknown_category", "no_key", "repeated_key",
}  # fmt: skip


def kind(flag: str) -> str:
    return flag.partition(":")[0]


@pytest.mark.parametrize(
    ("table", "way"), [(table, way) for table, ways in BREAKS.items() for way in ways]
)
def test_one_broken_row_is_the_one_that_is_flagged(shop, tmp_path, table, way):
    rows = rows_of(shop, table)
    rows[7] |= change(rows, BREAKS[table][way])
    written(tmp_path, table, rows)
    kept = {other: shop / f"data/raw/shop/{other}.csv" for other in BREAKS}
    files = kept | {table: tmp_path / f"{table}.csv"}
    frames = {name: text_rows(file, name) for name, file in files.items()}
    artifact = NexusFlowModelArtifact.load(model(shop))
    mended = mend_frames(artifact.recipe, artifact.tokenizer, frames)
    assert {flag.row for flag in mended.flags if flag.table == table} == {7}
    assert {name: len(frame) for name, frame in mended.frames.items()} == {
        name: len(frame) for name, frame in frames.items()
    }


def test_answers_of_whole_rows_do_not_change_when_others_are_broken(shop, tmp_path):
    whole, some = tmp_path / "whole.parquet", tmp_path / "some.parquet"
    predict_flagged(model(shop), shop / "data/raw/shop", None, whole)
    places = broken(shop, tmp_path, lambda table, rows: [9, 12] if table == "customers" else [])
    predict_flagged(model(shop), tmp_path, None, some)
    before, after = (pl.read_parquet(file)["prediction"].to_list() for file in (whole, some))
    kept = [place for place in range(CUSTOMERS) if place not in places["customers"]]
    assert [after[place] for place in kept] == pytest.approx([before[p] for p in kept], abs=1e-6)


def test_a_row_that_comes_twice_is_answered_twice_alike(shop, tmp_path):
    for table in BREAKS:
        rows = rows_of(shop, table)
        written(tmp_path, table, [*rows, rows[5]] if table == "customers" else rows)
    predict_flagged(model(shop), tmp_path, None, tmp_path / "out.parquet")
    answers = pl.read_parquet(tmp_path / "out.parquet")
    assert answers["prediction"][5] == answers["prediction"][CUSTOMERS]
    assert "repeated_key:customers.customer_id" in answers["flags"][CUSTOMERS]


def test_clean_files_leave_no_list_of_flags(shop, tmp_path):
    listed = tmp_path / "out.flags.csv"
    listed.write_text("of a former run")
    found = predict_flagged(model(shop), shop / "data/raw/shop", None, tmp_path / "out.csv")
    assert (found.flagged_rows, found.flags_file, listed.exists()) == (0, None, False)


def test_a_line_with_too_many_fields_is_refused_with_its_number(shop, tmp_path):
    for table in BREAKS:
        written(tmp_path, table, rows_of(shop, table))
    with (tmp_path / "orders.csv").open("a") as text:
        text.write("1,2,3,4,5,6\n")
    with pytest.raises(DataError, match=r"line \d+ has 6 fields"):
        predict_flagged(model(shop), tmp_path, None, tmp_path / "out.csv")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_are_answered_in_chunks_as_at_once(shop, tmp_path, suffix):
    whole, chunked = tmp_path / f"whole.{suffix}", tmp_path / f"chunked.{suffix}"
    predict_flagged(model(shop), shop / "data/raw/shop", None, whole)
    rows = predict_chunks(model(shop), shop / "data/raw/shop", None, chunked, CUSTOMERS // 2 + 1)
    read = pl.read_csv if suffix == "csv" else pl.read_parquet
    one, other = (read(file) for file in (whole, chunked))
    assert rows == CUSTOMERS
    assert_frame_equal(one, other, rel_tol=1e-6)


def test_a_broken_row_is_refused_in_chunks_and_nothing_is_written(shop, tmp_path):
    for table in BREAKS:
        rows = rows_of(shop, table)
        rows[9] |= BREAKS["customers"]["words for a number"] if table == "customers" else {}
        written(tmp_path, table, rows)
    with pytest.raises(DataError, match="do not cast"):
        predict_chunks(model(shop), tmp_path, None, tmp_path / "out.parquet", 10)
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv"}
