"""Point in time: the index against a reference that loops over rows and looks at every one."""

import datetime as dt
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import MOMENT, NUMBER, moment, table_spec

from nexus_model.align.assemble import closed_database
from nexus_model.align.index import NEVER, SampleTimes, index_path
from nexus_model.align.paths import Hop, RelationPath
from nexus_model.align.relate import link_rows, number_rows
from nexus_model.schema import DatabaseSpec, DataError
from nexus_model.tokenize.fit import parent_rows

WORLD = DatabaseSpec(
    tables=(
        table_spec("shops"),
        table_spec("customers", {}, {"shop_id": "shops"}),
        table_spec("orders", {}, {"customer_id": "customers", "shop_id": "shops"}, "at"),
        table_spec("items", {}, {"order_id": "orders"}),
        table_spec("prices", {"level": NUMBER}, {"shop_id": "shops"}, "at"),
    )
)
SHOPS, CUSTOMERS = 3, 5


def path(*hops):
    """A path from hops such as ``down orders 0``: direction, table that has the key, key."""
    found = []
    for hop in hops:
        direction, table, key = hop.split()
        parent = WORLD[table].foreign_keys[int(key)].references_table
        reaches = table if direction == "down" else parent
        found.append(Hop(direction=direction, table=table, key=int(key), reaches=reaches))
    return RelationPath(name="/".join(hops), table=found[-1].reaches, hops=tuple(found))


PATHS = {
    "down": ("customers", path("down orders 0")),
    "down_down": ("customers", path("down orders 0", "down items 0")),
    "down_down_in_time": ("shops", path("down customers 0", "down orders 0")),
    "down_up_down": ("customers", path("down orders 0", "up orders 1", "down prices 0")),
    "up_down": ("customers", path("up customers 0", "down prices 0")),
    "up_in_time_down": ("items", path("up items 0", "down items 0")),
}

# Most rows share few parents; one key more than there are rows is an orphan.
days = st.sampled_from([0, 1, 2, 2, 3, 4, 5, 6, None])
shop_keys = st.sampled_from([1, 1, 1, 2, 3, SHOPS + 1, None])
customer_keys = st.sampled_from([1, 1, 1, 2, 2, 3, 4, CUSTOMERS + 1, None])
order_keys = st.sampled_from([1, 1, 2, 3, 4, 5, 6, 7, 18, None])
worlds = st.fixed_dictionaries(
    {
        "shops": st.just([()] * SHOPS),
        "customers": st.lists(st.tuples(shop_keys), min_size=CUSTOMERS, max_size=CUSTOMERS),
        "orders": st.lists(st.tuples(customer_keys, shop_keys, days), min_size=7, max_size=17),
        "items": st.lists(st.tuples(order_keys), min_size=7, max_size=13),
        "prices": st.lists(st.tuples(shop_keys, days), min_size=5, max_size=11),
    }
)


def linked(world, shuffle=None):
    """The world as aligned tables; ids count from 1, rows come in any order."""
    con = closed_database(threads=1)
    for table in WORLD.tables:
        rows = [(at + 1, *row) for at, row in enumerate(world[table.name])]
        if shuffle is not None:
            random.Random(shuffle).shuffle(rows)
        names = [*table.key_columns, *([table.time_column] if table.time_column else [])]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        made = {name: pa.array(c, pa.int64()) for name, c in zip(names, columns, strict=True)}
        if table.time_column:
            made["at"] = pa.array([moment(day) for day in columns[-1]], pa.timestamp("us"))
        con.register("incoming", pa.table(made))
        con.execute(f"create table validated.{table.name} as select * from incoming")
        number_rows(con, f"select * from validated.{table.name}", table)
    for table in WORLD.tables:
        link_rows(con, table)
    return con


def asked(entities, cutoffs):
    """Every entity row at every cutoff; days, or None for everything."""
    pairs = [(row, day) for day in cutoffs for row in range(entities)]
    epoch, micro = dt.datetime(1970, 1, 1), dt.timedelta(microseconds=1)
    times = [NEVER if day is None else (moment(day) - epoch) // micro for _, day in pairs]
    moment_B = np.array(times, int)
    return SampleTimes(np.array([p[0] for p in pairs], int), moment_B, moment_B), pairs


def seen_by(con, route, times, max_rows=4):
    """Ids each sample sees; a row's id is its number plus one."""
    index = index_path(con, WORLD, route, times, max_rows)
    parts = np.split(index.rows_N + 1, index.offsets_B[1:-1])
    return [part.tolist() for part in parts]


def expected(world, route, entity, cutoff, max_rows=4):
    """The same by looking at every row."""

    def time_of(table, row):
        return world[table][row - 1][-1] if WORLD[table].time_column else None

    def known(table, row):
        time = time_of(table, row)
        if cutoff is None or WORLD[table].time_column is None:
            return True
        return time is not None and time <= cutoff

    def newest(table, rows):
        return sorted(rows, key=lambda r: (-1 if (t := time_of(table, r)) is None else t, r))

    rows = [entity + 1]
    for hop in route.hops:
        key = {row + 1: value[hop.key] for row, value in enumerate(world[hop.table])}
        if hop.direction == "up":
            found = {key[row] for row in rows} & set(range(1, len(world[hop.reaches]) + 1))
            rows = [row for row in found if known(hop.reaches, row)]
        else:
            groups = [[r for r in key if key[r] == row and known(hop.table, r)] for row in rows]
            rows = [r for group in groups for r in newest(hop.table, group)[-max_rows:]]
    return newest(route.table, set(rows))[-max_rows:]


@settings(max_examples=30)
@given(world=worlds, cutoffs=st.sets(st.integers(-1, 7), min_size=2), most=st.integers(1, 4))
def test_a_sample_sees_exactly_the_visible_rows_newest_last(world, cutoffs, most):
    con = linked(world)
    for entity, route in PATHS.values():
        times, pairs = asked(len(world[entity]), sorted(cutoffs))
        truth = [expected(world, route, row, day, most) for row, day in pairs]
        assert seen_by(con, route, times, most) == (truth or [[]]), route.name


@settings(max_examples=15)
@given(world=worlds)
def test_a_sample_without_a_cutoff_sees_everything(world):
    con = linked(world)
    for entity, route in PATHS.values():
        times, pairs = asked(len(world[entity]), [None])
        truth = [expected(world, route, row, None, 99) for row, _ in pairs]
        assert seen_by(con, route, times, 99) == (truth or [[]]), route.name


@settings(max_examples=7)
@given(world=worlds, seed=st.integers(0, 9))
def test_the_order_of_input_rows_changes_nothing(world, seed):
    con, shuffled = linked(world), linked(world, seed)
    for entity, route in PATHS.values():
        times, _ = asked(len(world[entity]), [2, 5])
        assert seen_by(con, route, times) == seen_by(shuffled, route, times)


@settings(max_examples=15)
@given(world=worlds, more=worlds)
def test_rows_later_than_the_cutoff_change_nothing(world, more):
    late = dict(world)
    for table in ("orders", "prices"):
        old = [row if row[-1] is None or row[-1] <= 3 else (None, *row[1:]) for row in world[table]]
        new = [(*row[:-1], 4 + row[-1]) for row in more[table] if row[-1] is not None]
        late[table] = old + new
    # An item of a key that was an orphan may now find its order: that is not a later row.
    orders = len(world["orders"])
    world["items"] = late["items"] = [i for i in world["items"] if i[0] is None or i[0] <= orders]
    con, later = linked(world), linked(late)
    for entity, route in PATHS.values():
        times, _ = asked(len(world[entity]), [3])
        assert seen_by(later, route, times) == seen_by(con, route, times), route.name


def one_order(**changed):
    """Five customers in one shop, one order on day 2 with one item, one price on day 1."""
    return {
        "shops": [()], "customers": [(1,)] * 5, "orders": [(1, 1, 2)], "items": [(1,)],
        "prices": [(1, 1)],
    } | changed  # fmt: skip


@pytest.mark.parametrize("key", [None, 6])
def test_a_row_with_a_null_or_orphaned_key_is_seen_by_nobody(key):
    times, _ = asked(5, [9, 9])
    world = one_order(orders=[(key, 1, 2)])
    assert seen_by(linked(world), PATHS["down"][1], times) == [[]] * 10


def test_rows_of_one_moment_come_in_the_order_of_their_keys():
    world = one_order(orders=[(1, 1, 2)] * 7)
    times, _ = asked(1, [1, 2])
    assert seen_by(linked(world, 3), PATHS["down"][1], times) == [[], [4, 5, 6, 7]]


@pytest.mark.parametrize("table", ["shops", "customers", "orders", "items", "prices"])
def test_an_empty_table_is_no_obstacle(table):
    world = one_order(**{table: []})
    con = linked(world)
    for entity, route in PATHS.values():
        times, pairs = asked(len(world[entity]), [9])
        truth = [expected(world, route, row, day) for row, day in pairs]
        assert seen_by(con, route, times) == (truth or [[]])


def test_a_key_into_an_empty_dated_table_has_no_parent():
    orders = WORLD["items"].model_copy(update={"time_column": "at"})
    con = linked(one_order(orders=[]))
    assert parent_rows(con, WORLD, orders, dated=True).tolist() == [[-1]]


def test_samples_keep_their_number_and_order():
    times, _ = asked(5, [9])
    order = np.array([3, 1, 4, 1, 0, 2])
    shuffled = SampleTimes(*(moments[order] for moments in times))
    assert seen_by(linked(one_order()), PATHS["down"][1], shuffled) == [[], [], [], [], [1], []]


def test_an_entity_is_not_seen_before_its_own_time():
    own = RelationPath(name="orders", table="orders")
    times, _ = asked(1, [1, 2, None])
    assert seen_by(linked(one_order()), own, times) == [[], [1], [1]]


def parents(world, table, *, dated):
    """Ids of every row's parents, 0 for none."""
    return (parent_rows(linked(world), WORLD, WORLD[table], dated=dated) + 1).tolist()


def test_a_row_never_reads_a_parent_later_than_itself():
    orders = DatabaseSpec(
        tables=(
            table_spec("shops", {}, {}, "at"),
            table_spec("orders", {"due": MOMENT}, {"shop_id": "shops"}, "at"),
        )
    )
    con = closed_database(threads=1)
    for name, rows in {"shops": [(1, 5), (2, 4)], "orders": [(1, 1, 4), (2, 2, 4)]}.items():
        columns = ("id", "shop_id", "at")[-len(rows[0]) :] if name == "orders" else ("id", "at")
        made = [dict(zip(columns, (*row[:-1], moment(row[-1])), strict=True)) for row in rows]
        con.register("incoming", pa.Table.from_pylist(made))
        number_rows(con, "select *, null as due from incoming", orders[name])
    for table in orders.tables:
        link_rows(con, table)
    assert parent_rows(con, orders, orders["orders"], dated=True).tolist() == [[-1], [1]]
    assert parent_rows(con, orders, orders["orders"], dated=False).tolist() == [[0], [1]]


def test_a_row_without_a_time_reads_no_parent_with_one_unless_nothing_is_dated():
    assert parents(one_order(), "items", dated=True) == [[0]]
    assert parents(one_order(), "items", dated=False) == [[1]]


def test_a_foreign_key_that_names_two_rows_is_refused_by_name():
    con = linked(one_order())
    con.execute("insert into aligned.shops select * from aligned.shops")
    with pytest.raises(DataError, match=r"shops\.id: key is not unique \(1 row\); for example 1"):
        link_rows(con, WORLD["customers"])


def test_sql_may_end_in_a_comment_and_columns_may_start_with_an_underscore():
    con = closed_database(threads=1)
    number_rows(con, "select 7 as id, 2 as _score -- done", table_spec("shops"))
    found = con.sql("select * from aligned.shops").to_arrow_table().to_pylist()
    assert found == [{"id": 7, "_score": 2, "_row": 0, "_time": None}]
