"""What a partition of a day reads, as one hash: rows dated until then, and no later one.

Late data changes the hash of the days that see it and of no other: only those are made anew.
"""

import datetime as dt
import hashlib
from collections.abc import Sequence

import duckdb

from nexus_model.align.relate import quoted
from nexus_model.schema import DatabaseSpec
from nexus_pipeline.storage import Store
from nexus_pipeline.storage.tables import table_columns

# Numbers of rows: they move when a row is put between others, and mean nothing else.
NUMBERS = ("_row",)


def day_versions(
    store: Store, database: DatabaseSpec, moments: Sequence[dt.datetime]
) -> tuple[str, ...]:
    """The version of what is visible at each moment, over all tables of the database.

    Rows without a date are visible always, and so are all rows of a table without time. The
    order of rows does not matter, their values do.
    """
    with store.read() as con:
        found = [_table_versions(con, table.name, moments) for table in database.tables]
    return tuple(
        hashlib.sha256("\n".join(versions).encode()).hexdigest()
        for versions in zip(*found, strict=True)
    )


def _table_versions(
    con: duckdb.DuckDBPyConnection, table: str, moments: Sequence[dt.datetime]
) -> list[str]:
    """One scan of the table for all moments: rows are summed by the first moment that sees them."""
    name, columns = f"aligned.{quoted(table)}", table_columns(con, f"aligned.{table}")
    read = [column for column in columns if column not in NUMBERS]
    row = f"hash({', '.join(map(quoted, read))})"
    places = sorted(set(moments))
    seen = {moment: place for place, moment in enumerate(places)}
    told = f"{table}\0{sorted((column, columns[column]) for column in read)}"
    if "_time" not in columns:
        sums = [(0, *_summed(con, f"select {row} as row, 0 as place from {name}"))]
    else:
        con.execute("create or replace temp table asked (moment timestamp, place integer)")
        con.executemany("insert into asked values (?, ?)", [list(pair) for pair in seen.items()])
        sums = _summed_by_place(con, name, row)
    return [_told_sum(told, sums, seen[moment]) for moment in moments]


def _summed(con: duckdb.DuckDBPyConnection, select: str) -> tuple[int, int, int]:
    found = con.sql(f"select count(*), sum(row::hugeint), bit_xor(row) from ({select})").fetchall()
    count, total, crossed = found[0]
    return int(count), int(total or 0), int(crossed or 0)


def _summed_by_place(
    con: duckdb.DuckDBPyConnection, name: str, row: str
) -> list[tuple[int, int, int, int]]:
    select = (
        f"select {row} as row, case when _time is null then 0 else (select min(place) from asked "
        f"where asked.moment >= _time) end as place from {name}"
    )
    found = con.sql(
        "select place, count(*), sum(row::hugeint), bit_xor(row) "
        f"from ({select}) where place is not null group by place"
    ).fetchall()
    return [(int(p), int(n), int(total), int(crossed)) for p, n, total, crossed in found]


def _told_sum(told: str, sums: Sequence[tuple[int, int, int, int]], place: int) -> str:
    count = total = crossed = 0
    for own, rows, summed, xor in sums:
        if own <= place:
            count, total, crossed = count + rows, total + summed, crossed ^ xor
    return f"{told}\0{count}\0{total}\0{crossed}"
