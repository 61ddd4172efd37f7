"""The store replaces tables whole, by column name, and waits for nobody longer than told."""

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from nexus_model.schema import ConfigurationError, DataError
from nexus_pipeline.storage import Store, StoreLockedError, append_table, replace_table
from nexus_pipeline.storage.resource import StoreResource

PEOPLE = pl.DataFrame({"id": [3, 1, 2], "name": ["c", None, "b"]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb", lock_timeout_s=5)


def in_other_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python with ``code``."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_replaced_table_reads_back_in_the_order_it_was_given(store: Store) -> None:
    assert store.replace("raw.people", PEOPLE) == 3
    assert store.frame("raw.people").to_pydict() == PEOPLE.to_dict(as_series=False)
    assert store.rows("raw.people") == 3
    assert store.columns("raw.people") == {"id": "BIGINT", "name": "VARCHAR"}


def test_a_select_is_stored_in_its_own_order(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    store.replace("aligned.people", 'SELECT "id" FROM raw.people ORDER BY "id" DESC -- newest')
    assert store.frame("aligned.people")["id"].to_pylist() == [3, 2, 1]


def test_an_arrow_table_is_stored_like_a_polars_frame(store: Store) -> None:
    store.replace("a.t", PEOPLE)
    store.replace("b.t", pa.table(PEOPLE.to_dict(as_series=False)))
    assert store.content_hash("a.t") == store.content_hash("b.t")


def test_a_column_named_like_a_keyword_is_stored(store: Store) -> None:
    store.replace("raw.t", pl.DataFrame({"order": [1], 'a "b" c': [2]}))
    assert list(store.columns("raw.t")) == ["order", 'a "b" c']


def test_an_empty_frame_replaces_the_old_rows(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    assert store.replace("raw.people", PEOPLE.clear()) == 0
    assert store.columns("raw.people") == {"id": "BIGINT", "name": "VARCHAR"}


def test_a_column_of_nothing_but_nulls_is_stored_as_text(store: Store) -> None:
    store.replace("raw.t", pl.DataFrame({"a": [1, 2], "empty": [None, None]}))
    assert store.columns("raw.t")["empty"] == "VARCHAR"


def test_nulls_without_a_type_are_appended_to_any_column(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    assert store.append("raw.people", pl.DataFrame({"id": [None], "name": [None]})) == 4
    assert store.columns("raw.people") == {"id": "BIGINT", "name": "VARCHAR"}


def test_a_frame_without_columns_is_refused(store: Store) -> None:
    with pytest.raises(DataError, match="at least one column"):
        store.replace("raw.t", pl.DataFrame())


def test_a_column_that_comes_twice_is_refused_by_name(store: Store) -> None:
    with pytest.raises(DataError, match=r"\['A', 'a'\] come more than once"):
        store.replace("raw.t", 'SELECT 1 AS "a", 2 AS "A"')
    assert not store.exists("raw.t")


def test_a_replacement_may_add_remove_and_retype_columns(store: Store) -> None:
    store.replace("raw.t", PEOPLE)
    store.replace("raw.t", pl.DataFrame({"name": [1.5], "new": ["x"]}))
    assert store.columns("raw.t") == {"name": "DOUBLE", "new": "VARCHAR"}


def test_appended_columns_are_matched_by_name_not_by_position(store: Store) -> None:
    store.replace("raw.t", pl.DataFrame({"user": [1], "amount": [100]}))
    assert store.append("raw.t", pl.DataFrame({"amount": [200], "user": [2]})) == 2
    assert store.frame("raw.t").to_pydict() == {"user": [1, 2], "amount": [100, 200]}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"id": [1]}, r"missing \['name'\]"),
        ({"id": [1], "name": ["x"], "age": [3]}, r"unknown \['age'\]"),
        ({"id": [1.5], "name": ["x"]}, r"raw.people.id: is BIGINT and cannot take DOUBLE"),
        ({"id": ["1"], "name": ["x"]}, r"raw.people.id: is BIGINT and cannot take VARCHAR"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_added(
    store: Store, rows: dict[str, list[object]], told: str
) -> None:
    store.replace("raw.people", PEOPLE)
    with pytest.raises(DataError, match=told):
        store.append("raw.people", pl.DataFrame(rows))
    assert store.rows("raw.people") == 3


def test_a_narrower_number_is_appended(store: Store) -> None:
    store.replace("raw.t", pl.DataFrame({"id": [1]}))
    assert store.append("raw.t", pl.DataFrame({"id": pl.Series([2], dtype=pl.Int32)})) == 2


def write_and_fail(store: Store) -> None:
    """Change two tables and raise before the block ends."""
    with store.write() as con:
        con.execute("DELETE FROM raw.people")
        replace_table(con, "raw.other", PEOPLE.head(1))
        raise RuntimeError("lights out")


def test_an_error_between_two_writes_keeps_the_old_tables(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    store.replace("raw.other", PEOPLE)
    with pytest.raises(RuntimeError, match="lights out"):
        write_and_fail(store)
    assert (store.rows("raw.people"), store.rows("raw.other")) == (3, 3)


def test_a_process_killed_while_writing_leaves_the_old_table(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    code = (
        "import os, sys; from pathlib import Path; from nexus_pipeline.storage import Store\n"
        "with Store(Path(sys.argv[1])).write() as con:\n"
        "    con.execute('DELETE FROM raw.people'); os._exit(9)\n"
    )
    writer = in_other_process(code, store.path)
    writer.communicate(timeout=30)
    assert writer.returncode == 9
    assert store.rows("raw.people") == 3


def test_an_error_inside_a_block_gives_the_lock_back(store: Store) -> None:
    with pytest.raises(duckdb.CatalogException), store.write() as con:
        con.execute("SELECT * FROM nowhere")
    with pytest.raises(duckdb.CatalogException):
        read_nowhere(store)
    probe = in_other_process("import duckdb, sys; duckdb.connect(sys.argv[1])", store.path)
    probe.communicate(timeout=30)
    assert probe.returncode == 0


def read_nowhere(store: Store) -> None:
    """Read a table that is not there."""
    with store.read() as con:
        con.execute("SELECT * FROM nowhere")


def test_a_reader_cannot_change_the_store(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    with store.read() as con, pytest.raises(duckdb.Error, match="read-only"):
        con.execute("DELETE FROM raw.people")


def test_a_reader_inside_a_writer_sees_the_last_committed_state(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    with store.write() as con:
        append_table(con, "raw.people", PEOPLE)
        assert store.rows("raw.people") == 3
        with store.read() as inner, pytest.raises(duckdb.Error, match="read-only"):
            inner.execute("DELETE FROM raw.people")
    assert store.rows("raw.people") == 6


def test_writing_while_this_process_reads_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb", lock_timeout_s=0.2)
    store.replace("raw.people", PEOPLE)
    with store.read(), pytest.raises(StoreLockedError, match="close readers before writing"):
        store.replace("raw.people", PEOPLE)


def test_times_are_read_in_utc_wherever_the_machine_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    store.replace("raw.t", "SELECT TIMESTAMPTZ '2020-01-01 00:00:00+00' AT TIME ZONE 'UTC' AS at")
    with store.read() as con:
        assert con.execute("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]


def test_four_processes_that_write_at_once_all_succeed(store: Store) -> None:
    store.replace("raw.log", pl.DataFrame({"who": [-1]}))
    code = (
        "import sys; from pathlib import Path; import polars as pl\n"
        "from nexus_pipeline.storage import Store\n"
        "store = Store(Path(sys.argv[1]), threads=1)\n"
        "for step in range(5): store.append('raw.log', pl.DataFrame({'who': [int(sys.argv[2])]}))\n"
    )
    workers = [in_other_process(code, store.path, who) for who in range(4)]
    told = [worker.communicate(timeout=60)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, told
    counts = store.frame("raw.log").to_pandas()["who"].value_counts().to_dict()
    assert counts == {-1: 1, 0: 5, 1: 5, 2: 5, 3: 5}


def test_two_processes_read_at_the_same_time(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    code = (
        "import sys; from pathlib import Path; from nexus_pipeline.storage import Store\n"
        "print(Store(Path(sys.argv[1]), lock_timeout_s=0).rows('raw.people'))"
    )
    with store.read():
        assert in_other_process(code, store.path).communicate(timeout=30)[0].strip() == "3"


def test_waiting_for_a_lock_ends_with_the_name_of_the_cause(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    code = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1])\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    impatient = Store(store.path, lock_timeout_s=0.2)
    started = time.monotonic()
    with pytest.raises(StoreLockedError, match="held by another process"):
        impatient.replace("raw.people", PEOPLE)
    with pytest.raises(StoreLockedError, match=f"PID {holder.pid}"):
        impatient.rows("raw.people")
    assert time.monotonic() - started < 3
    holder.communicate("")


def test_a_folder_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DataError, match="cannot be opened"):
        Store(tmp_path / "nowhere" / "store.duckdb").replace("raw.people", PEOPLE)
    assert time.monotonic() - started < 2


def test_a_store_that_was_never_written_says_so(store: Store) -> None:
    assert not store.exists("raw.people")
    with pytest.raises(DataError, match="nothing was stored yet"):
        store.rows("raw.people")


def test_a_table_that_is_not_there_is_named(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    with pytest.raises(DataError, match=r"raw\.persons: is not in the store"):
        store.frame("raw.persons")


def test_a_dropped_table_is_gone(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    store.drop("raw.people")
    store.drop("raw.people")
    assert not store.exists("raw.people")


def test_a_name_without_a_schema_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"named schema\.name"):
        store.replace("people", PEOPLE)


def test_the_content_hash_changes_with_names_types_values_and_order(store: Store) -> None:
    variants = {
        "same": PEOPLE,
        "renamed": PEOPLE.rename({"id": "key"}),
        "retyped": PEOPLE.cast({"id": pl.Int32}),
        "changed": PEOPLE.with_columns(pl.col("name").fill_null("")),
        "reordered": PEOPLE.sort("id"),
        "turned": PEOPLE.select("name", "id"),
        "longer": pl.concat([PEOPLE, PEOPLE.head(1)]),
    }
    for name, frame in variants.items():
        store.replace(f"raw.{name}", frame)
    assert len({store.content_hash(f"raw.{name}") for name in variants}) == len(variants)


def test_the_content_hash_does_not_depend_on_how_rows_came_into_the_file(tmp_path: Path) -> None:
    numbers = pl.DataFrame({"i": range(5000)}).with_columns(
        s=pl.format("n{}", pl.col("i") % 7), d=pl.when(pl.col("i") % 3 > 0).then(pl.col("i") / 2)
    )
    once, pieces = Store(tmp_path / "a.duckdb"), Store(tmp_path / "b.duckdb", threads=1)
    once.replace("raw.t", numbers)
    junk = numbers.with_columns(i=-1 - pl.col("i"))
    pieces.replace("raw.t", pl.concat([junk, numbers[:1500]]))
    with pieces.write() as con:
        con.execute("DELETE FROM raw.t WHERE i < 0")
        append_table(con, "raw.t", numbers[1500:1501])
        append_table(con, "raw.t", numbers[1501:])
    assert once.content_hash("raw.t") == pieces.content_hash("raw.t")


def test_the_content_hash_is_the_same_in_another_process(store: Store) -> None:
    store.replace("raw.people", PEOPLE)
    code = (
        "import sys; from pathlib import Path; from nexus_pipeline.storage import Store\n"
        "print(Store(Path(sys.argv[1])).content_hash('raw.people'))"
    )
    other = in_other_process(code, store.path).communicate(timeout=30)[0].strip()
    assert other == store.content_hash("raw.people")


def test_the_resource_gives_a_store_and_makes_its_folder(tmp_path: Path) -> None:
    resource = StoreResource(database=str(tmp_path / "new" / "store.duckdb"), threads=1)
    resource.store().replace("raw.people", PEOPLE)
    with resource.get_connection() as con:
        assert con.execute("SELECT count(*) FROM raw.people").fetchall() == [(3,)]
        assert con.execute("SELECT current_setting('threads')").fetchall() == [(1,)]


def test_the_resource_refuses_settings_it_would_not_use(tmp_path: Path) -> None:
    resource = StoreResource(
        database=str(tmp_path / "s.duckdb"), connection_config={"access_mode": "read_only"}
    )
    with pytest.raises(ConfigurationError, match="threads or memory_limit"):
        resource.store()
