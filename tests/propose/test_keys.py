"""Keys: what names rows is found, and what only looks so is not."""

import csv
from pathlib import Path

import pytest

from nexus_pipeline.propose.keys import Keys, find_keys
from nexus_pipeline.propose.load import load_tables, open_store
from nexus_pipeline.propose.names import names_table
from nexus_pipeline.propose.scan import scan_folder

TABLES = {
    "teams": (["id", "city"], [(i + 1, f"c{i % 7}") for i in range(20)]),
    "staff": (
        ["staff_no", "manager_id", "team", "age"],
        [
            (500 + 3 * i, "" if i < 4 else 500 + 3 * (i % 4), i % 20 + 1, 20 + i % 40)
            for i in range(60)
        ],
    ),
    "matches": (
        ["season", "match_day", "home_team_id", "away_team_id", "goals"],
        [(2000 + i // 50, i % 50, i % 20 + 1, (7 * i + 3) % 20 + 1, i % 6) for i in range(200)],
    ),
    "cards": (
        ["season", "match_day", "minute", "colour"],
        [(2000 + i % 4, (i * 13) % 50, i % 90, "red") for i in range(600)],
    ),
    "ratings": (["rater", "stars"], [(f"x{i % 9}", i % 5 + 1) for i in range(90)]),
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return keys_of(tmp_path_factory.mktemp("keys"), TABLES)


def keys_of(folder: Path, tables: dict) -> Keys:
    (folder / "in").mkdir()
    for name, (head, rows) in tables.items():
        with (folder / "in" / f"{name}.csv").open("w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows([head, *rows])
    store = open_store(folder)
    loaded = load_tables(scan_folder(folder / "in"), store, folder / "raw")
    with store.write() as con:
        return find_keys(con, loaded.profiles)


def test_primary_keys_are_found_single_and_composite(keys):
    found = {name: key.columns for name, key in keys.primary.items()}
    assert found == {"teams": ("id",), "staff": ("staff_no",), "matches": ("season", "match_day")}


def test_links_are_found_with_roles_self_references_and_pairs(keys):
    assert {link.told for link in keys.links} == {
        "staff.manager_id > staff.staff_no",
        "staff.team > teams.id",
        "matches.home_team_id > teams.id",
        "matches.away_team_id > teams.id",
        "cards.season+match_day > matches.season+match_day",
    }


def test_small_whole_numbers_are_no_key_by_their_values_alone(keys):
    assert not [
        link for link in keys.links if link.columns[0] in {"stars", "goals", "age", "minute"}
    ]


def test_every_link_has_a_confidence_and_a_reason(keys):
    assert all(0.6 <= link.confidence <= 1 and len(link.reason) > 20 for link in keys.links)


def test_a_key_found_for_half_its_rows_is_kept_and_its_orphans_told(tmp_path):
    tables = {
        "clients": (["client_id", "x"], [(i, i % 3) for i in range(50, 100)]),
        "calls": (["call_id", "client_id"], [(900 + i, i) for i in range(100)]),
    }
    (link,) = keys_of(tmp_path, tables).links
    assert link.told == "calls.client_id > clients.client_id"
    assert link.orphans == pytest.approx(0.5)


def test_a_key_of_another_type_is_found_and_marked(tmp_path):
    tables = {
        "clients": (["client_id", "x"], [(i, i % 3) for i in range(50, 100)]),
        "calls": (
            ["call_id", "client_id"],
            [(i, 50 + i % 50 if i % 9 else "NA") for i in range(99)],
        ),
    }
    (link,) = keys_of(tmp_path, tables).links
    assert link.recast


@pytest.mark.parametrize(
    ("column", "table", "least"),
    [
        ("customer_id", ("customer",), 0.9),
        ("customerID", ("customer",), 0.9),
        ("customer", ("customer",), 0.9),
        ("cust_no", ("customer",), 0.7),
        ("billing_customer_id", ("customer",), 0.9),
        ("cstmr", ("customer",), 0.7),
    ],
)
def test_names_that_point_at_a_table(column, table, least):
    assert names_table(column, table, "id", same_table=False)[0] >= least


@pytest.mark.parametrize("column", ["amount", "custom_note", "order_id", "id", "c"])
def test_names_that_do_not(column):
    assert names_table(column, ("customer",), "id", same_table=False)[0] < 0.7
