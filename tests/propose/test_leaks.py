"""Leaks and times: what gives the answer away is found, what merely helps is not."""

import csv
from pathlib import Path

import numpy as np
import pytest

from nexus_pipeline.propose.load import load_tables, open_store
from nexus_pipeline.propose.proposal import Proposal, propose
from nexus_pipeline.propose.scan import scan_folder

ROWS = 400


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Proposal:
    folder = tmp_path_factory.mktemp("leaks")
    rng = np.random.default_rng(2)
    left = rng.random(ROWS) < 0.3
    helps = left + rng.normal(0, 1, ROWS)
    columns = {
        "client_id": [f"c{i}" for i in range(ROWS)],
        "joined_at": [f"2024-01-{i % 28 + 1:02d}" for i in range(ROWS)],
        "updated_at": [f"2024-03-{i % 28 + 1:02d}" for i in range(ROWS)],
        "region": rng.choice(["n", "s"], ROWS),
        "helps": helps.round(3),
        "left_on": [f"2024-02-{i % 28 + 1:02d}" if gone else "" for i, gone in enumerate(left)],
        "state": np.where(left, "gone", rng.choice(["new", "old"], ROWS)),
        "closing_fee": (left * 50 + rng.random(ROWS)).round(3),
        "churned": left.astype(int),
    }
    write(folder / "in", "clients", columns)
    gone = [f"c{i}" for i in np.flatnonzero(left)]
    write(folder / "in", "farewells", {"farewell_id": range(len(gone)), "client_id": gone})
    calls = [f"c{i}" for i in rng.integers(0, ROWS, 900)]
    write(folder / "in", "calls", {"call_id": range(900), "client_id": calls})
    store = open_store(folder)
    loaded = load_tables(scan_folder(folder / "in"), store, folder / "raw")
    with store.write() as con:
        return propose(con, loaded, "clients.churned")


def write(folder: Path, table: str, columns: dict) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / f"{table}.csv").open("w", newline="") as text:
        csv.writer(text).writerows([columns, *zip(*columns.values(), strict=True)])


def test_leaks_are_found_and_honest_columns_are_not(found):
    assert set(found.leak_columns("clients")) == {"left_on", "state", "closing_fee"}


def test_a_table_with_rows_for_one_answer_only_is_left_out(found):
    assert [leak.table for leak in found.leaks if leak.column is None] == ["farewells"]
    assert [table.table for table in found.lost] == ["farewells"]


def test_the_time_of_a_row_is_when_it_began_and_not_when_it_changed(found):
    assert found.times["clients"].column == "joined_at"
    assert any("updated_at" in other for other in found.times["clients"].others)


def test_the_target_is_no_candidate_for_itself(found):
    assert "clients.churned" not in {other.told for other in found.candidates}
