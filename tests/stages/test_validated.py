"""Validated and quarantined rows together are the raw rows; each rejected row says why."""

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nexus_model.schema import ConfigurationError, DataError, SemanticType
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.column_types import ColumnRole
from nexus_pipeline.steps.contracts import Contract, derive_contract, pandera_schema
from nexus_pipeline.steps.validate import ValidationReport, validate_table
from nexus_pipeline.storage import Store

ORDERS: dict[str, Any] = {
    "id": [1, 2, 3],
    "customer": ["a", "b", "a"],
    "at": ["2020-01-01", "2020-01-02", "2020-01-03"],
    "price": [1.5, 2.5, 3.5],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.duckdb")


def shop(root: Path = Path(), **orders: Any) -> ProjectConfig:
    """Customers and their orders; keyword arguments change how orders are read."""
    declared = {
        "name": "orders",
        "primary_key": "id",
        "foreign_keys": [{"columns": "customer", "references_table": "customers"}],
        "time_column": "at",
    }
    return ProjectConfig.model_validate(
        {
            "project_name": "shop",
            "root": root,
            "datasets": [{"name": "customers", "primary_key": "name"}, declared | orders],
            "target": {"target_table": "customers", "target_column": "churned"},
        }
    )


def put(store: Store, table: str, columns: dict[str, Any]) -> None:
    """Store raw rows as if they were read from a file."""
    store.replace(f"raw.{table}", pl.DataFrame(columns, strict=False).with_row_index("_row"))


def validated(
    store: Store, orders: dict[str, Any] | None = None, **told: Any
) -> tuple[ValidationReport, list[int], dict[int, str]]:
    """The report, the accepted row numbers and the reasons by rejected row number."""
    put(store, "customers", {"name": ["a", "b"], "churned": [0, 1]})
    put(store, "orders", ORDERS | (orders or {}))
    project = shop(**told)
    report = validate_table(project, derive_contract(project, "orders", store), store)
    rejected = store.frame("quarantine.orders").to_pydict()
    reasons = dict(zip(rejected["_row"], rejected["_reason"], strict=True))
    return report, store.frame("validated.orders")["_row"].to_pylist(), reasons


def test_good_rows_are_all_accepted_in_file_order(store: Store) -> None:
    report, accepted, reasons = validated(store, {"id": [3, 1, 2]})
    assert (accepted, reasons) == ([0, 1, 2], {})
    assert (report.raw_rows, report.accepted, report.quarantined) == (3, 3, 0)
    assert store.frame("validated.orders")["id"].to_pylist() == [3, 1, 2]


def test_a_duplicate_key_is_quarantined_with_its_reason(store: Store) -> None:
    report, accepted, reasons = validated(store, {"id": [1, 2, 1]})
    assert (accepted, reasons) == ([0, 1], {2: "id repeats the primary key of an earlier row"})
    assert report.reasons[0].example == "row 2: id='1'"


def test_a_null_in_the_primary_key_is_quarantined(store: Store) -> None:
    _, accepted, reasons = validated(store, {"id": [1, None, None]})
    assert (accepted, reasons) == ([0], {1: "id is null", 2: "id is null"})


def test_a_composite_key_repeats_only_as_a_whole(store: Store) -> None:
    columns = {"id": [1, 1, 1], "customer": ["a", "b", "a"]}
    _, accepted, reasons = validated(store, columns, primary_key=["id", "customer"])
    assert (accepted, list(reasons)) == ([0, 1], [2])


def test_the_first_acceptable_row_of_a_key_stays(store: Store) -> None:
    _, accepted, reasons = validated(store, {"id": [1, 1, 1], "at": [None, *ORDERS["at"][1:]]})
    assert (accepted, reasons[0]) == ([1], "at is null")


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (None, "at is null"),
        ("someday", "at is not TIMESTAMP"),
        ("1500-01-01", "at is outside the years 1677 to 2262"),
        ("2300-01-01", "at is outside the years 1677 to 2262"),
        ("infinity", "at is outside the years 1677 to 2262"),
    ],
)
def test_a_row_without_a_usable_time_is_quarantined(
    store: Store, at: str | None, reason: str
) -> None:
    _, accepted, reasons = validated(store, {"at": ["2020-01-01", at, "2020-01-03"]})
    assert (accepted, reasons) == ([0, 2], {1: reason})


def test_a_date_column_is_held_to_the_same_years(store: Store) -> None:
    days = [dt.date(2020, 1, 1), dt.date(1500, 1, 1), None]
    _, accepted, reasons = validated(store, {"at": days})
    assert (accepted, sorted(reasons)) == ([0], [1, 2])


def test_offsets_are_applied_and_quarantined_text_is_kept(store: Store) -> None:
    validated(store, {"at": ["2020-01-01T00:00:00+02:00", "soon", "2020-01-03"]})
    assert store.frame("validated.orders")["at"][0].as_py() == dt.datetime(2019, 12, 31, 22)
    assert store.frame("quarantine.orders")["at"].to_pylist() == ["soon"]


def test_orphans_are_kept_and_counted_unless_told_otherwise(store: Store) -> None:
    report, accepted, _ = validated(store, {"customer": ["a", "x", None]})
    assert accepted == [0, 1, 2]
    assert (report.orphans[0].rows, report.orphans[0].share) == (1, 0.5)
    assert (report.orphans[0].example, report.orphans[0].references_table) == ("x", "customers")


def test_orphans_are_dropped_when_the_project_file_says_so(store: Store) -> None:
    report, accepted, reasons = validated(store, {"customer": ["a", "x", None]}, on_orphan="drop")
    assert (accepted, reasons) == ([0, 2], {1: "customer names no row of customers"})
    assert report.orphans[0].rows == 1


def test_orphans_can_be_an_error_that_names_one(store: Store) -> None:
    told = r"orders\.customer: names no row of customers \(2 rows\); for example 'x'"
    with pytest.raises(DataError, match=told):
        validated(store, {"customer": ["a", "x", "y"]}, on_orphan="error")
    assert not store.exists("validated.orders")
    assert not store.exists("quarantine.orders")


def test_keys_of_different_types_are_refused_with_both_named(store: Store) -> None:
    told = r"orders\.customer: is BIGINT, but customers\.name, which it references, is VARCHAR"
    with pytest.raises(DataError, match=told):
        validated(store, {"customer": [1, 2, 3]})


def test_a_key_column_without_values_has_no_type_to_differ(store: Store) -> None:
    report, accepted, _ = validated(store, {"customer": [None, None, None]})
    assert (accepted, report.orphans[0].rows, report.orphans[0].share) == ([0, 1, 2], 0, 0.0)


def test_a_table_may_reference_itself(store: Store) -> None:
    keys = [{"columns": "before", "references_table": "orders"}]
    report, _, _ = validated(store, {"before": [None, 1, 9]}, foreign_keys=keys)
    assert (report.orphans[0].foreign_key, report.orphans[0].rows) == ("before>orders", 1)


def test_a_referenced_table_that_was_not_read_is_named(store: Store) -> None:
    put(store, "orders", ORDERS)
    contract = derive_contract(shop(), "orders", store)
    with pytest.raises(DataError, match=r"raw\.customers: is not in the store"):
        validate_table(shop(), contract, store)


def test_a_value_of_another_type_than_promised_is_quarantined(store: Store) -> None:
    validated(store)
    contract = derive_contract(shop(), "orders", store)
    put(store, "orders", ORDERS | {"price": ["1.5", "n/a", None], "id": [1.0, 2.0, 3.5]})
    report = validate_table(shop(), contract, store)
    assert store.columns("validated.orders")["price"] == "DOUBLE"
    assert {r.reason: r.example for r in report.reasons} == {
        "price is not DOUBLE": "row 1: id='2.0', price='n/a'",
        "id is not BIGINT": "row 2: id='3.5'",
    }


def test_a_null_where_the_contract_allows_none_is_quarantined(store: Store) -> None:
    validated(store)
    contract = derive_contract(shop(), "orders", store)
    strict = contract.model_copy(
        update={
            "columns": tuple(
                column.model_copy(update={"nullable": column.name != "price"})
                for column in contract.columns
            )
        }
    )
    put(store, "orders", ORDERS | {"price": [None, 1.0, 2.0]})
    assert validate_table(shop(), strict, store).reasons[0].reason == "price is null"


def test_a_column_that_is_gone_is_named_and_a_new_one_is_kept(store: Store) -> None:
    validated(store)
    contract = derive_contract(shop(), "orders", store)
    put(store, "orders", ORDERS | {"extra": ["x", "y", "z"]})
    validate_table(shop(), contract, store)
    assert store.frame("validated.orders")["extra"].to_pylist() == ["x", "y", "z"]
    put(store, "orders", {k: v for k, v in ORDERS.items() if k != "price"})
    with pytest.raises(DataError, match=r"orders: columns \['price'\] are gone"):
        validate_table(shop(), contract, store)


def test_a_contract_older_than_the_keys_of_the_project_is_refused(store: Store) -> None:
    validated(store)
    contract = derive_contract(shop(), "orders", store)
    with pytest.raises(ConfigurationError, match="derive its contract again"):
        validate_table(shop(on_orphan="drop"), contract, store)


def test_types_that_polars_lacks_pass_through(store: Store) -> None:
    put(store, "customers", {"name": ["a"], "churned": [0]})
    store.replace(
        "raw.orders",
        "SELECT 1 AS id, 'a' AS customer, DATE '2020-01-01' AS at, to_days(3) AS wait, "
        "1.5::DECIMAL(9, 2) AS price, [1] AS list, 0 AS _row",
    )
    report = validate_table(shop(), derive_contract(shop(), "orders", store), store)
    assert report.accepted == 1
    assert store.columns("validated.orders")["wait"] == "INTERVAL"


def test_a_column_named_like_a_keyword_is_validated(store: Store) -> None:
    columns = {"order": [1, 1], "group": ["x", None], "select": ["2020-01-01", "no"]}
    put(store, "customers", {"name": ["a"], "churned": [0]})
    put(store, "orders", columns)
    project = shop(primary_key="order", time_column="select", foreign_keys=[])
    report = validate_table(project, derive_contract(project, "orders", store), store)
    assert (report.accepted, report.quarantined) == (1, 1)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([None, 1, 2, 3]),
            st.sampled_from([None, "a", "b", "x"]),
            st.sampled_from([None, "2020-01-01", "2020-05-05", "soon", "1200-01-01"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_accepted_and_quarantined_rows_are_exactly_the_raw_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]]
) -> None:
    store = Store(tmp_path_factory.mktemp("split") / "s.duckdb")
    ids, customers, times = (list(column) for column in zip(*rows, strict=True))
    prices: list[object] = [1.0] * len(rows)
    columns = {"id": ids, "customer": customers, "at": times, "price": prices}
    report, accepted, reasons = validated(store, columns, on_orphan="drop")
    assert sorted([*accepted, *reasons]) == list(range(len(rows)))
    assert accepted == sorted(accepted)
    assert (report.accepted, report.quarantined) == (len(accepted), len(reasons))
    assert sum(reason.rows for reason in report.reasons) == len(reasons)
    kept = store.frame("validated.orders")["id"].to_pylist()
    assert len(kept) == len(set(kept))


def test_a_contract_names_keys_time_and_features_with_reasons(store: Store) -> None:
    validated(store)
    contract = derive_contract(shop(), "orders", store)
    assert [(c.name, c.role.value, c.nullable, c.unique) for c in contract.columns] == [
        ("id", "key", False, True),
        ("customer", "key", True, False),
        ("at", "time", False, False),
        ("price", "feature", True, False),
    ]
    assert contract["price"].semantic is SemanticType.NUMERICAL
    assert all(column.reason for column in contract.columns)
    assert contract.foreign_keys[0].references_columns == ("name",)
    assert [c.name for c in contract.with_role(ColumnRole.KEY)] == ["id", "customer"]


def test_a_contract_round_trips_through_json(store: Store) -> None:
    validated(store)
    contract = derive_contract(shop(), "orders", store)
    assert Contract.model_validate_json(contract.model_dump_json()) == contract


def test_the_target_is_not_a_feature(store: Store) -> None:
    put(store, "customers", {"name": ["a", "b"], "churned": [0, 1]})
    contract = derive_contract(shop(), "customers", store)
    assert contract["churned"].role is ColumnRole.IGNORED


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"primary_key": "Id"}, r"orders\.primary_key: .*did you mean 'id'"),
        ({"time_column": "att"}, r"orders\.time_column: .*did you mean 'at'"),
        (
            {"foreign_keys": [{"columns": "custmer", "references_table": "customers"}]},
            "did you mean 'customer'",
        ),
        (
            {"foreign_keys": [{"columns": ["id", "at"], "references_table": "customers"}]},
            "give primary_key there or references_columns here",
        ),
        ({"text_columns": "prize"}, "did you mean 'price'"),
    ],
)
def test_a_name_that_is_not_in_the_file_is_refused(
    store: Store, told: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        validated(store, **told)


def test_a_time_column_that_an_sql_model_adds_may_be_missing(store: Store, tmp_path: Path) -> None:
    put(store, "orders", ORDERS)
    model = tmp_path / "dbt_like_sql" / "shop" / "aligned" / "orders.sql"
    model.parent.mkdir(parents=True)
    model.write_text("SELECT * FROM validated.orders")
    project = shop(tmp_path, time_column="known_at", text_columns="made_by_sql")
    assert derive_contract(project, "orders", store).time_column is None


def test_the_pandera_schema_accepts_validated_rows_and_refuses_others(store: Store) -> None:
    import pandera.errors

    validated(store)
    schema = pandera_schema(derive_contract(shop(), "orders", store))
    rows = pl.DataFrame(pl.from_arrow(store.frame("validated.orders")))
    assert len(schema.validate(rows)) == 3
    broken = [
        pl.concat([rows, rows]),
        rows.with_columns(price=pl.lit("x")),
        rows.with_columns(at=pl.lit(dt.datetime(1500, 1, 1))),
        rows.drop("price"),
    ]
    for frame in broken:
        with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
            schema.validate(frame)
