"""Which aggregates there are: names that need quotes, columns left out, and the cut by rank."""

import duckdb

from nexus_model.schema import (
    ColumnSpec,
    DatabaseSpec,
    ForeignKey,
    SemanticType,
    TableSpec,
    TaskKind,
    TaskSpec,
)
from nexus_pipeline.steps.aggregate_paths import MOST_FEATURES, aggregate_paths, kept_features
from nexus_pipeline.steps.aggregates import aggregate_features, aggregate_sql

TASK = TaskSpec(name="win", kind=TaskKind.BINARY, entity_table="players", horizon_days=30)


def _table(name, *columns, parent=None, time=None, semantic=SemanticType.NUMERICAL):
    key = ForeignKey(columns=("key",), references_table=parent or "", references_columns=("id",))
    return TableSpec(
        name=name,
        columns=tuple(ColumnSpec(name=column, semantic=semantic) for column in columns),
        primary_key=("id",),
        foreign_keys=(key,) if parent else (),
        time_column=time,
    )


def _wide(columns):
    many = [f"c{index}" for index in range(columns)]
    return DatabaseSpec(
        tables=(
            _table("players"),
            _table("games", *many, parent="players", time="played"),
            _table("fouls", *many, parent="games", time="seen"),
        )
    )


def test_names_that_need_quotes_are_quoted():
    odd = 'the "odd" one; select'
    tables = (_table("players", odd), _table("games", odd, parent="players"))
    con = duckdb.connect()
    name = '"the ""odd"" one; select"'
    con.execute("create schema aligned")
    con.execute(f"create table aligned.players as select 0 as _row, 5 as {name}")
    con.execute(f"create table aligned.games as select 0 as _row, 0 as _fk_0, 7 as {name}")
    con.execute(
        "create table aligned.samples_win as "
        "select 0 as sample, 0 as entity_row, timestamp '2000-01-01' as cutoff, cutoff as as_of"
    )
    found = aggregate_features(con, DatabaseSpec(tables=tables), TASK).to_pylist()[0]
    assert (found[f"entity.{odd}"], found[f"games.{odd}.last"]) == (5.0, 7.0)


def test_the_label_of_a_static_task_is_never_a_feature():
    database = DatabaseSpec(
        tables=(_table("players", "height", "role"), _table("games", parent="players"))
    )
    static = TASK.model_copy(update={"horizon_days": None, "target_column": "role"})
    sql = aggregate_sql(database, static)
    assert '"role"' not in sql
    assert '"height"' in sql
    assert '"role"' in aggregate_sql(database, TASK)


def test_text_columns_are_left_to_those_who_can_read():
    bio = _table("players", "bio", semantic=SemanticType.TEXT)
    database = DatabaseSpec(tables=(bio, _table("games", "score", parent="players")))
    sql = aggregate_sql(database, TASK)
    assert '"bio"' not in sql
    assert '"score"' in sql


def test_too_many_features_are_cut_by_rank():
    kept = kept_features(aggregate_paths(_wide(220), TASK), room=MOST_FEATURES - 3)
    assert len(kept) == MOST_FEATURES - 3
    assert {feature.path for feature in kept} == {"games"}
    assert {f.statistic for f in kept if f.column} == {"last", "mean_10", "mean"}


def test_every_rank_kept_is_at_most_every_rank_cut():
    paths = aggregate_paths(_wide(40), TASK)
    kept, every = kept_features(paths), kept_features(paths, room=10**6)
    cut = [feature for feature in every if feature not in kept]
    assert len(kept) == MOST_FEATURES
    assert max(feature.rank for feature in kept) <= min(feature.rank for feature in cut)


def test_what_is_kept_stays_in_declared_order():
    paths = aggregate_paths(_wide(40), TASK)
    kept, every = kept_features(paths), kept_features(paths, room=10**6)
    assert kept == [feature for feature in every if feature in set(kept)]
