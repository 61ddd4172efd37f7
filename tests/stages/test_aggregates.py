"""Aggregates against a reference that loops over rows, and the law that the future is not seen."""

import random

import duckdb
import pyarrow as pa
import pytest
from tiny_aggregates import (
    ARROW,
    DATABASE,
    DAY,
    MOMENT,
    NUMBER,
    SIZES,
    START,
    STATIC,
    TASK,
    Reference,
)  # fmt: skip

from nexus_pipeline.steps.aggregates import aggregate_features


def _value(generator, semantic):
    if generator.random() < 0.15:
        return None
    if semantic is NUMBER:
        return generator.choice([round(generator.uniform(-5, 5), 2), float("inf"), 2.0, 3.0, 1.0])
    if semantic is MOMENT:
        return START + generator.randrange(-900, 900) * DAY
    return generator.choice(["0", "1", "1", "2"])


def _row(generator, table, number):
    row = {c.name: _value(generator, c.semantic) for c in table.columns}
    dated = table.time_column and generator.random() > 0.05
    row |= {"_row": number, "_time": START + generator.randrange(500) * DAY if dated else None}
    for index, key in enumerate(table.foreign_keys):
        row[f"_fk_{index}"] = generator.choice([None, *range(SIZES[key.references_table])])
    return row


def _random_rows(seed):
    generator = random.Random(seed)
    return {
        table.name: [_row(generator, table, number) for number in range(SIZES[table.name])]
        for table in DATABASE.tables
    }


def _random_samples(seed, *, static):
    draw = random.Random(f"samples {seed}")
    found = []
    for number in range(31):
        entity, day = draw.randrange(SIZES["players"]), 70 * draw.randrange(7) + 9
        stale = draw.choice([100, 300])
        cutoff = None if static else START + day * DAY
        as_of = None if static else cutoff - stale * draw.randrange(2) * DAY
        found.append({"sample": number, "entity_row": entity, "cutoff": cutoff, "as_of": as_of})
    return found


def _connection(rows, samples, *, links="beside"):
    con = duckdb.connect()
    con.execute("create schema aligned")
    for table in DATABASE.tables:
        own = {column.name: ARROW[column.semantic] for column in table.columns}
        own |= {"_row": pa.int64(), "_time": pa.timestamp("us")}
        keys = {f"_fk_{index}": pa.int64() for index in range(len(table.foreign_keys))}
        _store(con, table.name, rows[table.name], own if links == "apart" else own | keys)
        if links != "beside":
            _store(con, f"links_{table.name}", rows[table.name], {"_row": pa.int64()} | keys)
    types = {"sample": pa.int64(), "entity_row": pa.int64()}
    types |= {"cutoff": pa.timestamp("us"), "as_of": pa.timestamp("us")}
    _store(con, "samples_win", samples[::-1], types)
    return con


def _store(con, name, rows, types):
    content = pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
    con.register("content", content)
    con.execute(f"create table aligned.{name} as select * from content")
    con.unregister("content")


def _features(rows, samples, task=TASK, **options):
    return aggregate_features(_connection(rows, samples, **options), DATABASE, task).to_pylist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("task", [TASK, STATIC], ids=["in time", "static"])
def test_every_feature_is_that_of_the_reference(seed, task):
    rows = _random_rows(seed)
    samples = _random_samples(seed, static=task is STATIC)
    found, reference = _features(rows, samples, task), Reference(rows, task)
    for sample, features in zip(samples, found, strict=True):
        expected = reference.features(sample)
        assert sorted(n for n in features if not n.startswith("cohort.")) == sorted(expected)
        for name, value in expected.items():
            assert features[name] == pytest.approx(value, abs=1e-9), (name, sample)


def _later_changed(rows, moment, seed):
    """The same rows up to ``moment``; whatever is later is changed, moved further, or added."""
    generator, changed = random.Random(f"change {seed}"), {}
    for table in DATABASE.tables:
        content = []
        for row in rows[table.name]:
            later = table.time_column and (row["_time"] is None or row["_time"] > moment)
            fresh = _row(generator, table, row["_row"])
            moved = moment + generator.randrange(1, 99) * DAY
            content.append(fresh | {"_time": moved} if later else row)
        if table.time_column:
            for number in range(len(content), len(content) + 7):
                moved = moment + generator.randrange(1, 99) * DAY
                content.append(_row(generator, table, number) | {"_time": moved})
        changed[table.name] = content
    return changed


@pytest.mark.parametrize("seed", range(6))
def test_what_happens_after_as_of_changes_nothing(seed):
    rows, samples = _random_rows(seed), _random_samples(seed, static=False)
    moment = START + 50 * (seed + 2) * DAY
    samples = [sample for sample in samples if sample["as_of"] <= moment]
    assert any(sample["cutoff"] > moment for sample in samples)
    assert _features(rows, samples) == _features(_later_changed(rows, moment, seed), samples)


def test_a_change_at_as_of_itself_is_seen():
    rows, samples = _random_rows(0), _random_samples(0, static=False)
    game = next(r for r in rows["games"] if r["_time"] and r["_fk_0"] is not None)
    samples[0] |= {"entity_row": game["_fk_0"], "cutoff": game["_time"], "as_of": game["_time"]}
    before = _features(rows, samples)[0]
    game["score"] = 77.0
    assert _features(rows, samples)[0]["games.score.max"] == 77.0 != before["games.score.max"]


@pytest.mark.parametrize("links", ["apart", "both"])
def test_links_may_stand_beside_the_columns_or_apart(links):
    rows, samples = _random_rows(1), _random_samples(1, static=False)
    assert _features(rows, samples) == _features(rows, samples, links=links)


def test_the_order_of_stored_rows_does_not_matter():
    rows, samples = _random_rows(2), _random_samples(2, static=False)
    shuffled = {name: content[::-1] for name, content in rows.items()}
    assert _features(rows, samples) == _features(shuffled, samples)


def test_a_repeated_run_gives_the_same_bits():
    con = _connection(_random_rows(3), _random_samples(3, static=False))
    one, two = (aggregate_features(con, DATABASE, TASK) for _ in range(2))
    assert one.equals(two)


def test_no_rows_at_all_give_counts_of_zero():
    rows = {name: [] for name in SIZES} | {"players": _random_rows(0)["players"]}
    for player in rows["players"]:
        player["_fk_0"] = None
    found = _features(rows, _random_samples(0, static=False))
    assert found[0]["games.count"] == 0
    assert found[0]["games.score.mean"] is None
