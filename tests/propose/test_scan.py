"""A folder's tables: every form is read to the same rows, and what is no table is said."""

import csv
import gzip
import io
import sqlite3
import zipfile
from pathlib import Path

import duckdb
import pytest

from nexus_model.schema import ConfigurationError
from nexus_pipeline.propose.load import Loaded, load_tables, open_store
from nexus_pipeline.propose.scan import scan_folder

ROWS = [("K01", 3, "2024-01-05"), ("K02", 5, "2024-02-07"), ("K03", 8, "2024-03-09")]
HEAD = ("code", "amount", "day")


def text(delimiter: str = ",") -> str:
    lines = io.StringIO()
    csv.writer(lines, delimiter=delimiter, lineterminator="\n").writerows([HEAD, *ROWS])
    return lines.getvalue()


def every_form(folder: Path) -> None:
    folder.mkdir()
    (folder / "plain.csv").write_text(text())
    (folder / "tabbed.tsv").write_text(text("\t"))
    (folder / "wide.csv").write_text(text(";"), encoding="utf-16")
    (folder / "Odd name-2.csv").write_text(text())
    with gzip.open(folder / "packed.csv.gz", "wt") as packed:
        packed.write(text())
    with zipfile.ZipFile(folder / "alone.csv.zip", "w") as archive:
        archive.writestr("alone.csv", text())
    with zipfile.ZipFile(folder / "two.zip", "w") as archive:
        archive.writestr("first.csv", text())
        archive.writestr("below/second.tsv", text("\t"))
    with sqlite3.connect(folder / "lite.sqlite") as con:
        con.execute("create table lite (code text, amount integer, day date)")
        con.executemany("insert into lite values (?, ?, ?)", ROWS)
    with duckdb.connect(str(folder / "duck.duckdb")) as con:
        con.execute("create table duck (code varchar, amount integer, day date)")
        con.executemany("insert into duck values (?, ?, ?)", ROWS)
        con.execute(f"copy duck to '{folder / 'columns.parquet'}' (format parquet)")
    (folder / "report.xlsx").write_bytes(b"PK not really")
    (folder / "nothing.csv").write_bytes(b"")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> tuple[Loaded, dict[str, list]]:
    folder = tmp_path_factory.mktemp("scan")
    every_form(folder / "in")
    store = open_store(folder)
    found = load_tables(scan_folder(folder / "in"), store, folder / "raw")
    with store.read() as con:
        query = "select code, amount, day::date::varchar from raw.{} order by 1"
        rows = {t.table: con.sql(query.format(t.table)).fetchall() for t in found.profiles}
    return found, rows


def test_every_form_gives_the_same_rows(loaded):
    names = {"plain", "tabbed", "wide", "Odd_name_2", "packed", "alone", "first", "second", "lite"}
    assert set(loaded[1]) == names | {"duck", "columns"}
    assert all(rows == ROWS for rows in loaded[1].values())


def test_what_the_raw_stage_reads_is_not_converted(loaded):
    converted = {"tabbed", "wide", "first", "second", "lite", "duck"}
    assert loaded[0].converted == converted


def test_what_is_no_table_is_left_out_with_a_reason(loaded):
    assert {item.file for item in loaded[0].left_out} == {"report.xlsx", "nothing.csv"}
    assert all(item.reason for item in loaded[0].left_out)


def test_a_converted_table_says_from_what(loaded):
    assert "utf-16 with a semicolon" in loaded[0].sources["wide"].notes[0]


def test_a_folder_without_tables_is_refused_with_what_would_be_read(tmp_path):
    with pytest.raises(ConfigurationError, match="CSV, TSV, Parquet"):
        scan_folder(tmp_path)
