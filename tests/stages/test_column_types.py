"""Every column gets a meaning and a reason; the project file has the last word."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from nexus_model.schema import ConfigurationError, SemanticType
from nexus_pipeline.settings.dataset import DatasetConfig
from nexus_pipeline.steps.column_types import (
    ColumnContract,
    ColumnRole,
    infer_columns,
    semantic_overrides,
    type_family,
)
from nexus_pipeline.storage import Store

ROWS = 120
NUMERICAL, CATEGORICAL = SemanticType.NUMERICAL, SemanticType.CATEGORICAL
TEXT, TIMESTAMP = SemanticType.TEXT, SemanticType.TIMESTAMP


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb")


def inferred(store: Store, frame: pl.DataFrame | str, **told: Any) -> dict[str, ColumnContract]:
    """The contracts of a table's columns by name."""
    store.replace("raw.t", frame)
    with store.read() as con:
        columns = infer_columns(con, "raw.t", **told)
    return {column.name: column for column in columns}


def column(store: Store, values: list[Any], **told: Any) -> ColumnContract:
    """The contract of one column of these values."""
    return inferred(store, pl.DataFrame({"x": values}, strict=False), **told)["x"]


@pytest.mark.parametrize(
    ("values", "semantic", "reason"),
    [
        ([True, False], CATEGORICAL, "yes or no"),
        ([1.5, 2.5, None], NUMERICAL, r"numbers \(DOUBLE\)"),
        ([1, 2, 3], NUMERICAL, r"numbers \(BIGINT\)"),
        ([0, 1, 1, None], CATEGORICAL, "whole numbers with 2 values"),
        ([0.0, 1.0, 1.0], NUMERICAL, "numbers"),
        ([dt.date(2020, 1, 1), dt.date(2021, 1, 1)], TIMESTAMP, r"dates \(DATE\)"),
        (["2020-01-01", "2021-06-01 10:00:00", None], TIMESTAMP, "every text is a date"),
        (["2020-01-01", "soon"], CATEGORICAL, "texts with 2 values"),
        (["10:00:00", "11:00:00"], CATEGORICAL, "texts with 2 values"),
        (["red", "blue", "red"], CATEGORICAL, "texts with 2 values"),
        (["it was a good day", "the worst of all races"], TEXT, "5.0 words on average"),
        (["it was a good day"] * 9 + ["the worst of all races"], CATEGORICAL, "texts with 2"),
        ([f"driver-{i}" for i in range(ROWS)], None, "an identifier: 120 different values"),
        ([f"driver-{i}" for i in range(50)], CATEGORICAL, "texts with 50 values"),
        ([f"driver-{i % 60}" for i in range(ROWS)], CATEGORICAL, "texts with 60 values"),
        (["same", "same"], None, "all values are the same"),
        ([7, 7, 7], None, "all values are the same"),
        ([None, None], None, "all values are null"),
        (["only", None], CATEGORICAL, "texts with 1 values"),
    ],
)
def test_a_column_means_what_its_values_tell(
    store: Store, values: list[Any], semantic: SemanticType | None, reason: str
) -> None:
    found = column(store, values)
    assert found.semantic is semantic
    assert re.search(reason, found.reason)
    assert found.role is (ColumnRole.IGNORED if semantic is None else ColumnRole.FEATURE)


def test_keys_time_label_and_row_numbers_are_not_features(store: Store) -> None:
    frame = pl.DataFrame(
        {"_row": [0, 1], "id": [1, 2], "at": ["2020-01-01", "x"], "won": [0, 1], "x": [1.5, 2.5]}
    )
    found = inferred(store, frame, keys=("id",), time_column="at", labels=("won",))
    assert {name: entry.role.value for name, entry in found.items()} == {
        "id": "key",
        "at": "time",
        "won": "ignored",
        "x": "feature",
    }
    assert found["won"].reason == "a label of the task, so not a feature"


def test_the_time_column_becomes_a_timestamp_and_may_not_be_null(store: Store) -> None:
    found = column(store, ["2020-01-01", "soon"], time_column="x")
    assert (found.type, found.nullable) == ("TIMESTAMP", False)


def test_a_date_stays_a_date(store: Store) -> None:
    assert column(store, [dt.date(2020, 1, 1)], time_column="x").type == "DATE"


def test_a_number_cannot_be_the_time_column(store: Store) -> None:
    with pytest.raises(ConfigurationError, match=r"raw\.t\.x is BIGINT and cannot be the time"):
        column(store, [2020, 2021], time_column="x")


def test_a_text_of_dates_is_validated_as_a_timestamp(store: Store) -> None:
    assert column(store, ["2020-01-01", "2020-01-02"]).type == "TIMESTAMP"


def test_a_list_or_an_interval_is_ignored_with_the_reason(store: Store) -> None:
    select = "SELECT [i] AS a, to_days(i::INTEGER) AS b, 'x'::BLOB AS c FROM range(3) AS t(i)"
    found = inferred(store, f"{select} UNION ALL SELECT [9], to_days(9), 'y'::BLOB")
    assert [entry.role for entry in found.values()] == [ColumnRole.IGNORED] * 3
    assert "BIGINT[] means nothing to the model" in found["a"].reason


def test_decimals_and_small_integers_are_numbers(store: Store) -> None:
    found = inferred(store, "SELECT i::DECIMAL(9,2) AS a, i::TINYINT AS b FROM range(5) AS t(i)")
    assert [entry.semantic for entry in found.values()] == [NUMERICAL, NUMERICAL]


def test_the_project_file_wins_over_the_values(store: Store) -> None:
    told = {"a": CATEGORICAL, "b": TEXT, "c": None, "d": NUMERICAL}
    frame = pl.DataFrame(
        {"a": [1, 2, 3], "b": ["x", "x", "x"], "c": [1.0, 2.0, 3.0], "d": ["1", "2", "x"]}
    )
    found = inferred(store, frame, overrides=told)
    assert [entry.semantic for entry in found.values()] == [CATEGORICAL, TEXT, None, NUMERICAL]
    assert found["d"].type == "DOUBLE"
    assert {entry.reason for entry in found.values()} == {"said by the project file"}


def test_a_meaning_that_the_type_cannot_have_is_refused(store: Store) -> None:
    with pytest.raises(ConfigurationError, match=r"raw\.t\.x is DATE and cannot be numerical"):
        column(store, [dt.date(2020, 1, 1)], overrides={"x": NUMERICAL})
    with pytest.raises(ConfigurationError, match="is BIGINT and cannot be timestamp"):
        column(store, [1, 2], overrides={"x": TIMESTAMP})


def test_an_aligned_table_is_typed_by_the_same_rules(store: Store) -> None:
    store.replace("aligned.t", "SELECT i AS id, 'c' || (i % 3) AS c FROM range(9) AS t(i)")
    with store.read() as con:
        found = infer_columns(con, "aligned.t", keys={"id"}, overrides={"gone": NUMERICAL})
    assert [(entry.name, entry.semantic) for entry in found] == [("id", None), ("c", CATEGORICAL)]


def declared(**told: Any) -> DatasetConfig:
    """A dataset as the project file declares it."""
    return DatasetConfig.model_validate(told)


def test_lists_of_the_project_file_become_overrides() -> None:
    dataset = declared(
        name="t",
        categorical_columns="a",
        numerical_columns="b",
        text_columns="c",
        timestamp_columns="d",
        ignore_columns="e",
    )
    expected = {"a": CATEGORICAL, "b": NUMERICAL, "c": TEXT, "d": TIMESTAMP, "e": None}
    assert semantic_overrides(dataset, "abcde") == expected


def test_a_column_in_two_lists_is_refused() -> None:
    dataset = declared(name="t", categorical_columns="a", ignore_columns="a")
    told = "column 'a' is in categorical_columns and in ignore_columns"
    with pytest.raises(ConfigurationError, match=told):
        semantic_overrides(dataset, ["a"])


def test_a_column_that_is_not_there_is_answered_with_the_nearest() -> None:
    dataset = declared(name="t", text_columns="pointz")
    with pytest.raises(ConfigurationError, match=r"text_columns: .*did you mean 'points'\?"):
        semantic_overrides(dataset, ["points", "other"])


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("UBIGINT", "number"),
        ("HUGEINT", "number"),
        ("DECIMAL(18,3)", "number"),
        ("ENUM('a', 'b')", "text"),
        ("TIMESTAMP WITH TIME ZONE", "time"),
        ("DECIMAL(18,3)[]", "DECIMAL(18,3)[]"),
        ("UUID", "uuid"),
    ],
)
def test_types_that_compare_are_one_family(kind: str, family: str) -> None:
    assert type_family(kind) == family


def test_a_column_may_be_named_as_the_queries_name_theirs(store: Store) -> None:
    names = ("value", "times", "low", "high", "ends", "own", "rows", "t")
    frame = pl.DataFrame({"kind": ["a", "b", "a"], **{name: [1.5, 2.5, 3.5] for name in names}})
    found = inferred(store, frame)
    assert {found[name].semantic for name in names} == {NUMERICAL}
    words = pl.DataFrame({name: ["a", "b", "a"] for name in ("value", "times", "kind")})
    assert {one.semantic for one in inferred(store, words).values()} == {CATEGORICAL}
