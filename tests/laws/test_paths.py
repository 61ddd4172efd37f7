"""Relation paths: which ways lead from an entity to rows, and what each is called."""

from itertools import pairwise

import pytest
from tiny import DATABASE, table_spec

from nexus_model.align.paths import find_paths, unreached_tables
from nexus_model.schema import ConfigurationError, DatabaseSpec

# Two foreign keys to one parent, a key to the own table, and two tables that name each other.
TANGLED = DatabaseSpec(
    tables=(
        table_spec("teams", {}, {"captain_id": "people"}),
        table_spec("people", {}, {"team_id": "teams", "boss_id": "people"}),
        table_spec("games", {}, {"home_id": "teams", "guest_id": "teams"}),
        table_spec("goals", {}, {"game_id": "games", "scorer_id": "people"}),
    )
)


def names(database, entity, depth, explicit=()):
    return [path.name for path in find_paths(database, entity, depth, explicit)]


def test_the_own_row_comes_first_then_children_then_further_ways():
    assert names(DATABASE, "customers", 2) == [
        "customers", "orders", "tickets", "orders/order_items", "shops/orders", "shops/prices"
    ]  # fmt: skip


def test_an_explicit_path_is_added_once():
    explicit = [("orders", "shops", "prices"), ("orders",)]
    assert names(DATABASE, "customers", 1, explicit)[1:] == [
        "orders", "tickets", "orders/shops/prices"
    ]  # fmt: skip


@pytest.mark.parametrize("entity", TANGLED.names)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_two_paths_share_a_name(entity, depth):
    found = names(TANGLED, entity, depth)
    assert len(set(found)) == len(found)


def test_two_foreign_keys_to_one_parent_are_two_paths():
    assert names(TANGLED, "teams", 1) == ["teams", "people[team_id]", "games[home_id]",
                                          "games[guest_id]"]  # fmt: skip


def test_no_path_crosses_a_key_and_comes_straight_back():
    for path in find_paths(TANGLED, "people", 4):
        keys = [(hop.table, hop.key) for hop in path.hops]
        assert all(one != other for one, other in pairwise(keys))


def test_every_path_ends_at_the_table_it_names_by_a_hop_down():
    for path in find_paths(TANGLED, "teams", 3)[1:]:
        assert path.hops[-1].direction == "down"
        assert path.hops[-1].reaches == path.table


@pytest.mark.parametrize(
    ("tables", "told"),
    [(["prices"], "no foreign key connects 'customers' and 'prices'"), (["shops"], "must end at")],
)
def test_an_impossible_explicit_path_is_refused(tables, told):
    with pytest.raises(ConfigurationError, match=told):
        find_paths(DATABASE, "customers", 1, [tables])


def test_tables_neither_on_a_path_nor_parents_of_one_are_unreached():
    paths = find_paths(DATABASE, "customers", 1)
    assert unreached_tables(DATABASE, paths) == ("brands", "products", "order_items", "prices")
