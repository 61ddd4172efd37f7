"""Rows two stages show are stored once, and a stage made anew changes nothing for the other."""

import duckdb
import pytest

from benchmarks.speed.ingest import write_project
from benchmarks.speed.tables import Shape, write_entities, write_events
from nexus_pipeline.project import load_project
from nexus_pipeline.steps import align, validate
from nexus_pipeline.steps.contract_check import contract_failures
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.storage import Store, replace_table
from nexus_pipeline.storage.shared import rows_behind, show_rows, store_rows
from nexus_pipeline.storage.tables import ascends, drop_table

THREE = "SELECT range AS id, 'x' AS text FROM range(3)"
FOUR = "SELECT range AS id, 'y' AS text FROM range(4)"


@pytest.fixture
def store(tmp_path):
    """Three rows that two tables show."""
    found = Store(tmp_path / "s.duckdb", threads=1)
    with found.write() as con:
        assert store_rows(con, "raw.t", THREE) == 3
        show_rows(con, "validated.t", rows_behind(con, "raw.t"), ["*"])
    return found


def stored_tables(store):
    with store.read() as con:
        asked = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'stored_rows'"
        return con.execute(asked).fetchall()[0][0]


def test_rows_that_two_tables_show_are_stored_once(store):
    assert store.frame("validated.t") == store.frame("raw.t")
    assert stored_tables(store) == 1


def test_a_stage_made_anew_changes_nothing_for_who_shows_its_former_rows(store):
    before = store.frame("validated.t")
    with store.write() as con:
        store_rows(con, "raw.t", FOUR)
    assert (store.rows("raw.t"), store.frame("validated.t")) == (4, before)
    assert stored_tables(store) == 2


def test_rows_that_nobody_shows_are_let_go(store):
    with store.write() as con:
        store_rows(con, "raw.t", FOUR)
        show_rows(con, "validated.t", rows_behind(con, "raw.t"), ["*"])
    assert stored_tables(store) == 1
    store.drop("raw.t")
    store.drop("validated.t")
    assert stored_tables(store) == 0


def test_a_table_of_its_own_takes_the_place_of_shown_rows_and_the_other_way_round(store):
    store.replace("validated.t", FOUR)
    assert (store.rows("validated.t"), store.rows("raw.t")) == (4, 3)
    with store.write() as con:
        show_rows(con, "validated.t", rows_behind(con, "raw.t"), ["id"])
    assert store.columns("validated.t") == {"id": "BIGINT"}


def test_a_change_that_fails_leaves_everything_as_it_was(store):
    def fail():
        with store.write() as con:
            store_rows(con, "raw.t", FOUR)
            drop_table(con, "validated.t")
            raise KeyError

    before = store.frame("raw.t")
    with pytest.raises(KeyError):
        fail()
    assert store.frame("raw.t") == store.frame("validated.t") == before


def test_shown_rows_have_the_content_hash_of_a_table_of_their_own(store):
    with store.write() as con:
        replace_table(con, "aligned.t", "SELECT * FROM raw.t")
    assert store.content_hash("validated.t") == store.content_hash("aligned.t")
    with store.write() as con:
        store_rows(con, "raw.t", FOUR)
    assert store.content_hash("validated.t") == store.content_hash("aligned.t")
    assert store.content_hash("raw.t") != store.content_hash("aligned.t")


@pytest.mark.parametrize(
    ("rows", "key", "is_ascending"),
    [
        ("(1, 1), (2, 1), (5, 0)", ["a"], True),
        ("(1, 1), (1, 2), (2, 0)", ["a", "b"], True),
        ("(1, 1), (1, 2), (2, 0)", ["a"], False),
        ("(2, 1), (1, 2)", ["a"], False),
        ("(1, 1), (1, 1)", ["a", "b"], False),
        ("(NULL, 1), (1, 1)", ["a"], False),
        ("(1, 1), (NULL, 1)", ["a"], False),
        ("(1, NULL), (2, 1)", ["a", "b"], False),
        ("(NULL, 1)", ["a"], False),
        ("(1, NULL)", ["a"], True),
    ],
)
def test_a_key_ascends_if_each_is_greater_than_the_one_before(rows, key, is_ascending):
    with duckdb.connect() as con:
        assert ascends(con, f"(VALUES {rows}) AS t(a, b)", key) is is_ascending
        assert ascends(con, f"(SELECT * FROM (VALUES {rows}) AS t(a, b) LIMIT 0)", key)


@pytest.fixture
def project(tmp_path):
    """Generated events, in the order of their key."""
    (tmp_path / "raw").mkdir()
    write_project(tmp_path)
    write_entities(tmp_path / "raw/entities.parquet", Shape(20, 300))
    write_events(tmp_path / "raw/events.parquet", Shape(20, 300))
    return load_project(tmp_path / "nexusflow.yaml")


def made(project, name):
    """The store after three stages, and what it holds by table."""
    store = Store(project.root / f"{name}.duckdb", threads=1)
    tables = [dataset.table for dataset in project.datasets]
    for table in tables:
        read_raw(project, table, store)
    for table in tables:
        contract = derive_contract(project, table, store)
        validate.validate_table(project, contract, store)
        assert contract_failures(contract, store) == []
        align.align_table(project, table, None, store)
    stages = ("raw", "validated", "aligned", "quarantine")
    names = [f"{stage}.{table}" for stage in stages for table in tables]
    return store, {name: (store.columns(name), store.content_hash(name)) for name in names}


def test_stages_that_share_rows_hold_what_stages_with_tables_of_their_own_hold(
    project, monkeypatch
):
    store, shared = made(project, "shared")
    assert stored_tables(store) == 2
    monkeypatch.setattr(validate, "_same_rows", lambda *_: None)
    monkeypatch.setattr(align, "_rows_in_order", lambda *_: None)
    assert made(project, "apart")[1] == shared


def test_rows_in_another_order_than_their_keys_are_put_in_order(project):
    _, expected = made(project, "ordered")
    file = project.root / "raw/events.parquet"
    with duckdb.connect() as con:
        mixed = f"(SELECT * FROM '{file}' ORDER BY hash(event_id)) TO '{file}.new'"
        con.execute(f"COPY {mixed} (FORMAT parquet)")
    (file.parent / "events.parquet.new").replace(file)
    store, found = made(project, "mixed")
    assert found["aligned.events"] == expected["aligned.events"]
    assert found["raw.events"] != expected["raw.events"]
    with store.read() as con:
        assert rows_behind(con, "aligned.events") is None


def test_a_rejected_row_gives_validated_rows_a_table_of_their_own(project):
    file = project.root / "raw/events.parquet"
    with duckdb.connect() as con:
        rows = f"SELECT * FROM '{file}' UNION ALL (SELECT * FROM '{file}' LIMIT 1)"
        con.execute(f"COPY ({rows}) TO '{file}.new' (FORMAT parquet)")
    (file.parent / "events.parquet.new").replace(file)
    store, _ = made(project, "twice")
    counts = [store.rows(f"{s}.events") for s in ("raw", "validated", "quarantine", "aligned")]
    assert counts == [301, 300, 1, 300]
