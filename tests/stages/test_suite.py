"""The training table's suite finds what is wrong with samples and leaves pages to read."""

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from nexus_model.schema import DataError, TaskKind
from nexus_pipeline.steps.suite import SuiteReport, check_training_table
from nexus_pipeline.storage import Store

SAMPLES: dict[str, Any] = {
    "sample": [0, 1, 2],
    "id": ["a", "a", "b"],
    "cutoff": ["2020-01-01", "2020-02-01", "2020-01-01"],
    "as_of": ["2020-01-01", "2020-02-01", "2020-01-01"],
    "label": [0.0, 1.0, 0.0],
    "split": ["train", "validation", "test"],
    "entity_row": [0, 0, 1],
}


def checked(
    folder: Path, kind: TaskKind = TaskKind.BINARY, classes: int = 0, **columns: Any
) -> SuiteReport:
    """The report for samples whose columns are replaced; a cutoff of None makes a static task."""
    store = Store(folder / "store.duckdb")
    frame = pl.DataFrame(SAMPLES | columns, strict=False).with_columns(
        pl.col("cutoff", "as_of").cast(pl.String).str.to_datetime("%Y-%m-%d")
    )
    store.replace("aligned.samples_dnf", frame)
    return check_training_table(
        store,
        "dnf",
        folder / "docs",
        kind=kind,
        entity_key=("id",),
        temporal=columns.get("cutoff", "") is not None,
        classes=classes,
    )


def broken(report: SuiteReport) -> dict[str, int]:
    """Unexpected values by expectation that does not hold."""
    assert report.success == all(result.success for result in report.results)
    return {r.expectation: r.unexpected for r in report.results if not r.success}


def test_good_samples_pass_and_the_pages_are_there(tmp_path: Path) -> None:
    report = checked(tmp_path)
    assert broken(report) == {}
    assert report.success
    assert len(report.results) == 12
    assert "samples_dnf" in report.docs.read_text(encoding="utf-8")
    assert report.docs.is_relative_to(tmp_path / "docs")
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"


def test_everything_that_is_wrong_is_found_and_counted(tmp_path: Path) -> None:
    report = checked(
        tmp_path,
        sample=[0, 1, 1],
        id=["a", None, "b"],
        label=[None, 2.0, 1.0],
        split=["train", "dev", None],
        entity_row=[None, None, 1],
        cutoff=["2020-01-01", None, "2020-01-01"],
        as_of=["2020-01-01", None, "2020-01-01"],
    )
    assert broken(report) == {
        "expect_column_values_to_be_unique(sample)": 2,
        "expect_column_values_to_not_be_null(id)": 1,
        "expect_column_values_to_not_be_null(label)": 1,
        "expect_column_values_to_be_in_set(label)": 1,
        "expect_column_values_to_not_be_null(split)": 1,
        "expect_column_values_to_be_in_set(split)": 1,
        "expect_column_values_to_not_be_null(entity_row)": 2,
        "expect_column_values_to_not_be_null(cutoff)": 1,
        "expect_column_values_to_not_be_null(as_of)": 1,
    }


def test_an_entity_has_one_sample_per_cutoff(tmp_path: Path) -> None:
    same = ["2020-01-01"] * 3
    report = checked(tmp_path, cutoff=same, as_of=same, split=["train"] * 3)
    assert broken(report) == {"expect_compound_columns_to_be_unique(id, cutoff, as_of, split)": 2}


def test_one_cutoff_may_be_asked_as_of_several_moments(tmp_path: Path) -> None:
    same, earlier = ["2020-01-01"] * 3, ["2020-01-01", "2019-12-01", "2020-01-01"]
    assert checked(tmp_path, cutoff=same, as_of=earlier, split=["train"] * 3).success


def test_no_samples_are_too_few(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {name: [] for name in SAMPLES}
    report = checked(tmp_path, **nothing)
    assert list(broken(report)) == ["expect_table_row_count_to_be_between(table)"]


def test_any_label_will_do_for_a_regression(tmp_path: Path) -> None:
    assert checked(tmp_path, TaskKind.REGRESSION, label=[0.5, 7.0, -1.0]).success


def test_labels_of_several_classes_are_their_numbers(tmp_path: Path) -> None:
    found = broken(checked(tmp_path, TaskKind.MULTICLASS, classes=2, label=[0.0, 1.0, 2.0]))
    assert found == {"expect_column_values_to_be_in_set(label)": 1}


def test_static_samples_are_unique_by_entity(tmp_path: Path) -> None:
    assert checked(tmp_path, id=["a", "b", "c"], cutoff=None).success
    twice = broken(checked(tmp_path, cutoff=None))
    assert twice == {"expect_column_values_to_be_unique(id)": 2}


def test_a_table_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.duckdb")
    store.replace("aligned.samples_dnf", pl.DataFrame({"sample": [0], "label": [1.0]}))
    with pytest.raises(DataError, match=r"samples_dnf: has no columns \['id', 'cutoff'"):
        check_training_table(
            store,
            "dnf",
            tmp_path / "docs",
            kind=TaskKind.BINARY,
            entity_key=["id"],
            temporal=True,
        )
