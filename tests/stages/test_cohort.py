"""Cohort: a number beside the numbers of the samples of the same moment, and of no other."""

import datetime as dt

import duckdb
import numpy as np
import pytest
from scipy.stats import rankdata
from tiny_aggregates import DATABASE, STATIC, TASK

from nexus_model.schema import ColumnSpec, DatabaseSpec, SemanticType, TaskSpec
from nexus_pipeline.steps.aggregate_paths import aggregate_paths, kept_features
from nexus_pipeline.steps.aggregates import aggregate_sql
from nexus_pipeline.steps.cohort import (
    MOST_COMPARED,
    cohort_parts,
    cohort_selected,
    compared_features,
)

KEPT = kept_features(aggregate_paths(DATABASE, TASK))
DAY = dt.datetime(2000, 1, 1)


def _compare(values, cutoffs, as_of=None):
    """Rank and z-score of one feature, by sample."""
    feature = compared_features(KEPT)[0]
    con = duckdb.connect()
    columns = f'sample int, cutoff timestamp, as_of timestamp, "{feature.name}" double'
    con.execute(f"create table features ({columns})")
    rows = zip(range(len(values)), cutoffs, as_of or cutoffs, values, strict=True)
    con.executemany("insert into features values (?, ?, ?, ?)", list(rows))
    told, parts = ", ".join(cohort_selected()), ", ".join(cohort_parts([feature]))
    source = "features left join cohort using (sample) order by features.sample"
    return con.sql(f"with {parts} select {told} from {source}").fetchall()


def test_rank_and_z_score_are_those_of_the_reference():
    values = np.array([3.0, 1.0, 1.0, 4.0, 9.0])
    found = np.array(_compare(values.tolist(), [DAY] * 5))
    assert found[:, 0].tolist() == [5] * 5
    assert found[:, 1] == pytest.approx((rankdata(values, "min") - 1) / 4)
    assert found[:, 2] == pytest.approx((values - values.mean()) / values.std())


def test_samples_of_another_cutoff_or_as_of_do_not_count():
    later = DAY + dt.timedelta(days=5)
    alone = _compare([1.0, 2.0], [later] * 2)
    company = _compare([1.0, 2.0, 7.0, -5.0], [later, later, DAY, later], [later, later, DAY, DAY])
    assert company[:2] == alone
    assert company[2][0] == company[3][0] == 1


def test_a_sample_without_a_value_is_not_compared():
    found = _compare([1.0, None, 3.0], [DAY] * 3)
    assert found[1][1:] == (None, None)
    assert [row[1] for row in found] == [0.0, None, 1.0]


def test_where_all_are_alike_there_is_no_z_score():
    assert [row[2] for row in _compare([0.1] * 3, [DAY] * 3)] == [None] * 3


def test_a_limited_number_is_compared_taken_from_every_direct_path():
    compared = compared_features(KEPT)
    assert len(compared) <= MOST_COMPARED
    assert {feature.path for feature in compared} >= {"games", "prizes", "label_history_win"}
    assert all(not f.column or f.column.semantic is SemanticType.NUMERICAL for f in compared)


def test_a_wide_table_does_not_crowd_the_others_out():
    wide = tuple(ColumnSpec(name=f"c{k}", semantic=SemanticType.NUMERICAL) for k in range(50))
    tables = [
        table.model_copy(update={"columns": wide}) if table.name == "games" else table
        for table in DATABASE.tables
    ]
    kept = kept_features(aggregate_paths(DatabaseSpec(tables=tuple(tables)), TASK))
    assert "prizes.worth.mean_10" in [feature.name for feature in compared_features(kept)]


@pytest.mark.parametrize("task", [STATIC, TASK], ids=["static", "in time"])
def test_only_samples_with_a_moment_have_a_cohort(task: TaskSpec):
    assert ("cohort" in aggregate_sql(DATABASE, task)) == (task is TASK)
