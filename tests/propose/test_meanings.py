"""Types: a table of dirty columns with known truth, read as the pipeline reads it."""

import csv
import datetime as dt
import uuid
from pathlib import Path

import numpy as np
import pytest

from nexus_pipeline.propose.keys import find_keys
from nexus_pipeline.propose.load import load_tables, open_store
from nexus_pipeline.propose.meanings import find_meanings
from nexus_pipeline.propose.scan import scan_folder

ROWS = 300
WORDS = [
    "the",
    "parcel",
    "came",
    "late",
    "and",
    "wet",
    "but",
    "staff",
    "were",
    "kind",
    "so",
    "i",
    "may",
    "order",
    "again",
    "soon",
]


def truth_table() -> dict[str, tuple[str, list[str]]]:
    """Column, its true meaning, its cells."""
    rng = np.random.default_rng(5)
    draw = lambda values: [str(value) for value in rng.choice(values, ROWS)]  # noqa: E731
    day = [dt.date(2019, 1, 1) + dt.timedelta(days=int(n)) for n in rng.integers(0, 1500, ROWS)]
    moment = [dt.datetime.combine(d, dt.time(i % 24, i % 60)) for i, d in enumerate(day)]
    whole = [int(n) for n in rng.integers(1, 3_000_000, ROWS)]
    real = [float(x) for x in rng.normal(50, 20, ROWS)]
    sentence = [" ".join(rng.choice(WORDS, int(rng.integers(5, 14)))) for _ in range(ROWS)]
    german = [f"{n:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".") for n in whole]
    return {
        "customer_id": ("key", [f"C{i:05d}" for i in range(ROWS)]),
        "age": ("numeric", draw(range(18, 90))),
        "height": ("numeric", [f"{x:.1f}" for x in real]),
        "active": ("categorical", draw(["true", "false"])),
        "vip": ("categorical", draw(["yes", "no"])),
        "smoker": ("categorical", draw(["Y", "N", ""])),
        "has_pet": ("categorical", draw([0, 1])),
        "zip": ("categorical", draw([f"{n:05d}" for n in range(900, 9900, 110)])),
        "postal_code": ("categorical", draw(range(10115, 14199, 60))),
        "joined": ("timestamp", [str(d) for d in day]),
        "dob": ("timestamp", [f"{d:%d/%m/%Y}" for d in day]),
        "last_login": ("timestamp", [f"{t:%m/%d/%Y %H:%M}" for t in moment]),
        "renewal": ("timestamp", [f"{d:%b %d, %Y}" for d in day]),
        "shipped": ("timestamp", [f"{d:%Y/%m/%d}" for d in day]),
        "due": ("timestamp", [f"{d:%d-%b-%y}" if i % 9 else "n/a" for i, d in enumerate(day)]),
        "day_number": ("timestamp", [f"{d:%Y%m%d}" for d in day]),
        "created_ts": ("timestamp", [str(int(t.timestamp())) for t in moment]),
        "updated": ("timestamp", [f"{t.isoformat()}+02:00" for t in moment]),
        "price": ("numeric", [f"${n:,.2f}" for n in whole]),
        "discount": ("numeric", [f"{x:.1f}%" for x in real]),
        "salary": ("numeric", [f"{n:,}" for n in whole]),
        "umsatz": ("numeric", german),
        "result": ("numeric", [f"({abs(x):.2f})" if x < 50 else f"{x:.2f}" for x in real]),
        "score": ("numeric", [f"{x:.2f}" if i % 8 else "NA" for i, x in enumerate(real)]),
        "duration": ("numeric", [f"{n % 90}:{n % 60:02d}" for n in whole]),
        "region": ("categorical", draw(["north", "south", "east", "west"])),
        "city": ("categorical", draw([f"city{n}" for n in range(120)])),
        "comment": ("text", sentence),
        "complaint": ("text", [text if i % 4 == 0 else "" for i, text in enumerate(sentence)]),
        "homepage": ("ignore", [f"https://example.org/{n}/{i}" for i, n in enumerate(whole)]),
        "email": ("ignore", [f"p{i}@example.org" for i in range(ROWS)]),
        "session": ("ignore", [str(uuid.UUID(int=n * 10**30 + n)) for n in whole]),
        "country": ("constant", ["DE"] * ROWS),
        "fax": ("ignore", [""] * ROWS),
        "old_id": ("ignore", [f"{n}.0" for n in rng.permutation(ROWS)]),
        "store_id": ("categorical", draw(range(101, 121))),
        "status_code": ("categorical", draw([200, 404, 500])),
        "icd": ("categorical", draw(["I10.1", "E11.9", "J45.0", "N18.3"])),
        "full_name": ("ignore", [f"name{n} of{i}" for i, n in enumerate(whole)]),
        "visits": ("numeric", draw(range(13))),
        "rating": ("numeric", draw(range(1, 6))),
        "birth_year": ("numeric", draw(range(1930, 2010))),
        "gender": ("categorical", draw(["m", "F", "M", "f", ""])),
        "article": ("categorical", draw([f"AB-{n}" for n in range(1000, 1060)])),
        "latitude": ("numeric", [f"{x / 2:.5f}" for x in real]),
        "phone": ("ignore", [f"+49 30 {n}" for n in range(1_000_000, 1_000_000 + ROWS)]),
        "grade": ("categorical", draw(list("ABCDEF"))),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("types")
    truth = truth_table()
    (folder / "in").mkdir()
    with (folder / "in" / "customers.csv").open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(truth)
        writer.writerows(zip(*(cells for _, cells in truth.values()), strict=True))
    return meanings_of(folder)


def meanings_of(folder: Path) -> dict[str, tuple[str, str]]:
    store = open_store(folder)
    loaded = load_tables(scan_folder(folder / "in"), store, folder / "raw")
    with store.write() as con:
        keys = find_keys(con, loaded.profiles).key_columns("customers")
        meanings = find_meanings(con, loaded.profiles[0], keys)
    return {meaning.name: (meaning.meaning.value, meaning.reason) for meaning in meanings}


def test_of_forty_dirty_columns_95_percent_are_typed_right(found):
    truth = truth_table()
    assert len(truth) >= 40
    wrong = {n: (found[n], kind) for n, (kind, _) in truth.items() if found[n][0] != kind}
    assert len(wrong) <= 0.05 * len(truth), wrong


def test_every_type_has_a_reason_in_words(found):
    assert all(len(reason) > 5 for _, reason in found.values())
