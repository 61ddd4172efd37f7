"""Raw tables are their files: same columns, same order, or an error that names the place."""

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from nexus_model.schema import ConfigurationError, DataError
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.read_raw import RawTable, read_raw
from nexus_pipeline.storage import Store

FOLDER = "data/raw/shop"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb")


def shop(root: Path, name: str) -> ProjectConfig:
    """A project of one table, whose file is data/raw/shop/<name>."""
    return ProjectConfig.model_validate(
        {
            "project_name": "shop",
            "root": root,
            "datasets": [{"name": name}],
            "target": {"target_table": name, "target_column": "label"},
        }
    )


def write(root: Path, name: str, content: str | bytes) -> Path:
    """Put a raw file where the project looks for it."""
    path = root / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(root: Path, store: Store, content: str | bytes, name: str = "orders.csv") -> RawTable:
    """Write a file and read it into the store."""
    write(root, name, content)
    return read_raw(shop(root, name), "orders", store)


def test_a_csv_file_becomes_typed_columns_and_row_numbers(tmp_path: Path, store: Store) -> None:
    content = "id,at,price,paid,note\n7,2020-01-02,1.5,true,a\n3,,\\N,false,\n"
    raw = read(tmp_path, store, content)
    assert store.columns("raw.orders") == {
        "id": "BIGINT",
        "at": "DATE",
        "price": "DOUBLE",
        "paid": "BOOLEAN",
        "note": "VARCHAR",
        "_row": "BIGINT",
    }
    rows = store.frame("raw.orders").to_pydict()
    assert (rows["id"], rows["_row"]) == ([7, 3], [0, 1])
    assert (rows["price"], rows["note"]) == ([1.5, None], ["a", None])
    assert (raw.rows, raw.columns) == (2, ("id", "at", "price", "paid", "note"))
    assert raw.sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_the_record_round_trips_through_json(tmp_path: Path, store: Store) -> None:
    raw = read(tmp_path, store, "id\n1\n")
    assert RawTable.model_validate_json(raw.model_dump_json()) == raw


def test_a_parquet_file_keeps_its_types_and_order(tmp_path: Path, store: Store) -> None:
    path = write(tmp_path, "orders.parquet", b"")
    pl.DataFrame({"id": [2, 1], "x": [None, 0.5]}, schema={"id": pl.Int32, "x": pl.Float32}).select(
        "x", "id"
    ).write_parquet(path)
    read_raw(shop(tmp_path, "orders.parquet"), "orders", store)
    assert store.columns("raw.orders") == {"x": "FLOAT", "id": "INTEGER", "_row": "BIGINT"}
    assert store.frame("raw.orders")["id"].to_pylist() == [2, 1]


def test_many_rows_keep_the_order_of_the_file(tmp_path: Path, store: Store) -> None:
    expected = [(i * 7919) % 300_007 for i in range(300_000)]
    read(tmp_path, store, "id,x\n" + "\n".join(f"{i},a" for i in expected))
    rows = store.frame("raw.orders")
    assert rows["id"].to_pylist() == expected
    assert rows["_row"].to_pylist() == list(range(300_000))


def test_a_type_is_decided_by_all_rows(tmp_path: Path, store: Store) -> None:
    read(tmp_path, store, "id,x\n" + "".join(f"{i},{i}\n" for i in range(30_000)) + "late,1\n")
    assert store.columns("raw.orders")["id"] == "VARCHAR"


def test_leading_zeros_stay_text(tmp_path: Path, store: Store) -> None:
    read(tmp_path, store, "zip,time\n00501,10:00:00\n10115,11:30:00\n")
    assert store.frame("raw.orders")["zip"].to_pylist() == ["00501", "10115"]
    assert store.columns("raw.orders")["time"] == "VARCHAR"


def test_keys_too_long_for_a_number_stay_text(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "orders.csv", "id,x\n12345678901234567890,1\n12345678901234567891,2.5\n")
    project = ProjectConfig.model_validate(
        shop(tmp_path, "orders.csv").model_dump()
        | {"root": tmp_path, "datasets": [{"name": "orders.csv", "primary_key": "id"}]}
    )
    read_raw(project, "orders", store)
    expected = ["12345678901234567890", "12345678901234567891"]
    assert store.frame("raw.orders")["id"].to_pylist() == expected
    assert store.columns("raw.orders")["x"] == "DOUBLE"


def test_quotes_line_breaks_and_a_byte_order_mark_are_read(tmp_path: Path, store: Store) -> None:
    read(tmp_path, store, '\ufeffid,"order"\r\n1,"a, ""b""\nc"\r\n')
    assert store.frame("raw.orders").to_pydict() == {
        "id": [1],
        "order": ['a, "b"\nc'],
        "_row": [0],
    }


def test_reading_again_replaces_the_table(tmp_path: Path, store: Store) -> None:
    read(tmp_path, store, "id\n1\n2\n")
    read(tmp_path, store, "id,x\n5,a\n")
    assert store.frame("raw.orders").to_pydict() == {"id": [5], "x": ["a"], "_row": [0]}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("id,x\n", "has a header but no rows"),
        ("id;x\n1;2\n", r"line 1: columns are separated by a semicolon \(';'\)"),
        ("id\tx\n1\t2\n", "separated by a tab"),
        ("id|x\n1|2\n", "separated by a bar"),
        ("id,x\n1,caf\u00e9\n".encode("latin-1"), "not UTF-8: byte 0xe9 at offset 10, line 2"),
        ("id,ID\n1,2\n", "ID|id: .* comes 2 times in the header"),
        ("id,,x\n1,2,3\n", "column 2 has no name"),
        ("id,_row\n1,2\n", "the name is taken by us"),
        ("id,x\n1,2\n3,4,5\n6,7\n", "line 3 has 3 fields, the header 2"),
        ("id,x\n1,2\n3\n", "line 3 has 1 fields, the header 2"),
        ("id,x,y\n1,2\n3,4\n", "line 2 has 2 fields, the header 3"),
        ('id,x\n1,"a\nb"\n2,"c\n', "line 4: unexpected end of data"),
        ("id,x\r\n1,2\n3,4\r\n", "some lines end with CR LF and some with LF"),
    ],
)
def test_a_broken_csv_file_is_named_with_its_reason(
    tmp_path: Path, store: Store, content: str | bytes, told: str
) -> None:
    with pytest.raises(DataError, match=told) as caught:
        read(tmp_path, store, content)
    assert "data/raw/shop/orders.csv" in str(caught.value)
    assert not store.exists("raw.orders")


def test_a_ragged_line_after_many_good_ones_is_found(tmp_path: Path, store: Store) -> None:
    content = "id,x\n" + "".join(f"{i},{i}\n" for i in range(30_000)) + "1,2,3\n"
    with pytest.raises(DataError, match="line 30002 has 3 fields, the header 2"):
        read(tmp_path, store, content)


def test_a_bad_byte_far_into_the_file_is_found(tmp_path: Path, store: Store) -> None:
    line = "1,\u00e9\u00e9\u00e9\n".encode()
    content = b"id,x\n" + line * 200_000 + b"2,\xff\n"
    where = f"offset {5 + len(line) * 200_000 + 2}, line 200002"
    with pytest.raises(DataError, match=where):
        read(tmp_path, store, content)


def test_a_file_that_ends_inside_a_character_is_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(DataError, match="not UTF-8: byte 0xc3 at offset 5, line 3"):
        read(tmp_path, store, b"id\n1\n\xc3")


def test_a_failed_read_keeps_the_table_read_before(tmp_path: Path, store: Store) -> None:
    read(tmp_path, store, "id\n1\n")
    with pytest.raises(DataError):
        read(tmp_path, store, "id\n")
    assert store.rows("raw.orders") == 1


def test_a_missing_file_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(DataError, match=r"data/raw/shop/orders\.csv is not there"):
        read_raw(shop(tmp_path, "orders.csv"), "orders", store)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda content: content[:-20], "truncated Parquet file"),
        (lambda content: b"id,x\n1,2\n", "is not a Parquet file"),
        (lambda content: content[:4] + bytes(200) + content[-4:], "damaged Parquet file"),
    ],
)
def test_a_spoiled_parquet_file_is_named(
    tmp_path: Path, store: Store, spoil: object, told: str
) -> None:
    assert callable(spoil)
    path = write(tmp_path, "orders.parquet", b"")
    pl.DataFrame({"id": range(100)}).write_parquet(path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=rf"data/raw/shop/orders\.parquet is a?.*{told}|{told}"):
        read_raw(shop(tmp_path, "orders.parquet"), "orders", store)


def test_a_dataset_without_suffix_finds_its_file(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "orders.csv", "id\n1\n")
    assert read_raw(shop(tmp_path, "orders"), "orders", store).path.suffix == ".csv"


def test_two_files_for_one_dataset_are_refused(tmp_path: Path, store: Store) -> None:
    write(tmp_path, "orders.csv", "id\n1\n")
    write(tmp_path, "orders.parquet", "id\n1\n")
    with pytest.raises(ConfigurationError, match="are both there"):
        read_raw(shop(tmp_path, "orders"), "orders", store)


def zipped(*names: str) -> bytes:
    """An archive with the same small table under every name."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), "id\n2\n1\n")
    return held.getvalue()


def packed(text: bytes) -> bytes:
    """The text with gzip, without the time it was packed at: test names must stay the same."""
    return gzip.compress(text, mtime=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [("orders.csv.gz", packed(b"id\n2\n1\n")), ("orders.csv.zip", zipped("any.csv"))],
    ids=["gz", "zip"],
)
def test_a_packed_csv_file_is_read(tmp_path: Path, store: Store, name: str, content: bytes) -> None:
    write(tmp_path, name, content)
    raw = read_raw(shop(tmp_path, "orders"), "orders", store)
    assert store.frame("raw.orders")["id"].to_pylist() == [2, 1]
    assert (raw.path.name, raw.sha256) == (name, hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("orders.csv.gz", packed(b"id\n1\n")[:-9], "damaged archive"),
        ("orders.csv.gz", b"id\n1\n", "damaged archive"),
        ("orders.csv.zip", zipped("a.csv")[:-30], "damaged archive"),
        ("orders.csv.zip", zipped("a.csv", "b.csv"), "must hold one file, it holds 2"),
        ("orders.csv.gz", packed(b"id,id\n1,2\n"), "2 times in the header"),
    ],
    ids=["gz-cut", "not-gz", "zip-cut", "zip-of-two", "column-twice"],
)
def test_a_spoiled_archive_is_named(
    tmp_path: Path, store: Store, name: str, content: bytes, reason: str
) -> None:
    write(tmp_path, name, content)
    with pytest.raises(DataError, match=reason) as told:
        read_raw(shop(tmp_path, "orders"), "orders", store)
    assert name in str(told.value)
