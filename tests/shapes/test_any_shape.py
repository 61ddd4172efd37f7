"""Shapes that tables are known to have, each by name, and random databases by number."""

from pathlib import Path

import pytest

from benchmarks.shapes.databases import Wish, make_database, project_file, write_tables
from benchmarks.shapes.journey import Arrived, reach_of, rehearse, travel

ONE = ((1, 0),)
NAMED: dict[str, Wish] = {
    "composite keys": Wish(tables=3, key="triple", links=((1, 0), (2, 1))),
    "text keys": Wish(tables=2, key="texts", links=ONE),
    "UUID keys": Wish(tables=2, key="uuids", links=ONE),
    "negative keys": Wish(tables=2, key="negative", links=ONE),
    "64-bit keys": Wish(tables=2, key="wide", links=ONE),
    "keys longer than 64 bits": Wish(tables=2, key="huge", links=ONE, suffix="csv"),
    "keys with leading zeros": Wish(tables=2, key="padded", links=ONE, suffix="csv"),
    "emoji and right-to-left keys and text": Wish(
        tables=2, key="signs", links=ONE, kinds=("signs", "sentences")
    ),
    "days as keys": Wish(tables=2, key="days", links=ONE),
    "a self-reference": Wish(tables=1, links=((0, 0),)),
    "two keys to one parent": Wish(tables=2, links=((1, 0), (1, 0))),
    "a cycle": Wish(tables=3, links=((0, 1), (1, 2), (2, 0))),
    "a many-to-many bridge": Wish(tables=3, links=((1, 0), (1, 2))),
    "parents of parents and a target in a child table": Wish(tables=3, links=((0, 1), (1, 2))),
    "no row and one row in a child table's parent": Wish(tables=2, links=ONE, rows=(40, 1)),
    "100,000 children": Wish(
        tables=2, links=ONE, rows=(30, 100_000), columns=1, suffix="parquet", key="counted"
    ),
    "tables without time": Wish(tables=2, links=ONE, timed=False),
    "rare classes": Wish(tables=2, links=ONE, target="rare_class"),
    "a regression of long tails": Wish(tables=2, links=ONE, target="skewed"),
    "labels with gaps": Wish(tables=1, links=(), target="with_gaps", rows=(90,)),
    "missingness, constants and all-null columns": Wish(
        tables=2, links=ONE, kinds=("rarely_filled", "all_null", "constant")
    ),
    "lists, records, bytes and times of day": Wish(
        tables=2, links=ONE, suffix="parquet", kinds=("lists", "records", "bytes", "clock_times")
    ),
    "decimals and extreme numbers": Wish(
        tables=2, links=ONE, kinds=("decimals", "extreme", "not_finite", "unsigned")
    ),
    "booleans as words": Wish(tables=2, links=ONE, kinds=("spelled_booleans", "booleans")),
    "time zones, before 1970 and after 2262": Wish(
        tables=2, links=ONE, kinds=("zoned", "before_1970", "after_2262", "days")
    ),
    "a column of 10,000 categories": Wish(
        tables=2, links=ONE, rows=(40, 10_000), kinds=("identifiers", "groups"), suffix="csv"
    ),
    "a table of 500 columns": Wish(tables=1, links=(), rows=(60,), columns=500),
    "packed CSV": Wish(tables=2, links=ONE, suffix="csv.zip"),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_named_shape_is_answered_row_by_row(name, tmp_path):
    database = make_database(7, NAMED[name])
    assert rehearse(database, tmp_path) == Arrived(
        rows=database.tables[0].rows, predictions=database.tables[0].rows
    )


@pytest.mark.parametrize("number", range(5))
def test_a_random_database_is_answered_or_refused_by_name(number, tmp_path):
    database = make_database(number)
    arrived = rehearse(database, tmp_path)
    named = any(table.name in arrived.refused for table in database.tables)
    assert arrived.predictions or named, arrived.refused


@pytest.mark.parametrize("number", [2, 3])
def test_a_random_database_is_trained_and_answered(number, tmp_path):
    assert travel(make_database(number), tmp_path).predictions


def test_a_task_in_time_sees_nothing_later_and_is_answered(tmp_path):
    wish = Wish(tables=2, links=ONE, rows=(60, 600), target="in_time", timed=True, key="pair")
    numbers = (n for n in range(50) if _dated(n, wish))
    database = make_database(next(numbers), wish)
    assert rehearse(database, tmp_path).predictions == 60


def _dated(number: int, wish: Wish) -> bool:
    """Whether times fall into the years that are split."""
    try:
        return bool(make_database(number, wish).asked.sql)
    except ValueError:
        return False


def test_an_isolated_table_is_refused_by_its_name(tmp_path):
    database = make_database(1, Wish(tables=3, links=ONE))
    _, lost = reach_of(database)
    refused = rehearse(database, tmp_path, whole=True).refused
    assert len(lost) == 1
    assert f"reaches {list(lost)}" in refused


def test_the_same_number_gives_the_same_files(tmp_path):
    contents = []
    for place in ("one", "two"):
        database = make_database(5)
        write_tables(database, tmp_path / place)
        files: list[Path] = sorted((tmp_path / place).glob("*.csv"))
        contents.append(([file.read_bytes() for file in files], project_file(database, (), 1)))
    assert contents[0] == contents[1]
