"""Text files: encodings, delimiters, headers, and the same rows as plain CSV."""

import io
from pathlib import Path

import pytest

from nexus_model.schema import DataError
from nexus_pipeline.propose.text_form import text_form, write_plain

ROWS = [["name", "city", "n"], ["Zoë", "Köln", "1"], ["Ann", "Århus", "2"]]


def written(encoding: str, delimiter: str) -> io.BytesIO:
    return io.BytesIO("\n".join(delimiter.join(row) for row in ROWS).encode(encoding))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_any_encoding_and_delimiter_gives_the_same_rows(tmp_path, encoding, delimiter):
    file = written(encoding, delimiter)
    form = text_form(file)
    assert (form.encoding, form.delimiter, form.header) == (encoding, delimiter, True)
    write_plain(file, form, tmp_path / "t.csv", "t")
    lines = (tmp_path / "t.csv").read_text("utf-8").splitlines()
    assert [line.split(",") for line in lines] == ROWS


def test_bytes_that_cp1252_lacks_are_latin_1():
    assert text_form(io.BytesIO(b"a,b\n\x81,\xe9\n")).encoding == "latin-1"


def test_a_delimiter_inside_quotes_is_none():
    assert text_form(io.BytesIO(b'a;b\n"x,y,z";1\n"p,q,r";2\n')).delimiter == ";"


def test_a_first_record_of_numbers_is_no_header(tmp_path):
    file = io.BytesIO(b"-122.2,37.8,41\n-122.3,37.9,21\n")
    told = write_plain(file, text_form(file), tmp_path / "t.csv", "t")
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == "column_1,column_2,column_3"
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 3
    assert "no header" in told[0]


def test_a_record_of_another_width_is_refused_with_its_line(tmp_path):
    file = io.BytesIO(b"a;b\n1;2\n1;2;3\n")
    with pytest.raises(DataError, match="line 3 has 3 fields, the first 2"):
        write_plain(file, text_form(file), Path(tmp_path / "t.csv"), "t")
