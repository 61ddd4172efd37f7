"""A question in time with several classes: the labels 0, 1, 2 ... of its SQL, named in order."""

import io

import numpy as np
import polars as pl
import pytest

from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.align import (
    align_table,
    index_task,
    lay_cutoffs,
    lay_samples,
    read_recipe,
    read_task,
    relate_tables,
)
from nexus_pipeline.steps.tokenize_task import open_tensors_of, tokenize_task
from nexus_pipeline.steps.train_task import judged_predictions, train_task
from nexus_pipeline.storage import Store

CLASSES = ("never", "once", "more")
LABELS = """\
select people.id, cutoffs.cutoff, least(count(visits.visit), 2) as label
from aligned.cutoffs_often as cutoffs
cross join aligned.people as people
left join aligned.visits as visits on visits.person = people.id
    and visits.at > cutoffs.cutoff and visits.at <= cutoffs.window_end
group by people.id, cutoffs.cutoff
"""
TASK = {
    "name": "often", "entity_table": "people", "kind": "multiclass", "horizon_days": 10,
    "sql": "how_often",
}  # fmt: skip


def project(root, **task):
    """People, their visits, and how often they come."""
    return ProjectConfig(
        project_name="p",
        datasets=[
            {"name": "people", "primary_key": "id"},
            {
                "name": "visits", "primary_key": "visit", "time_column": "at",
                "foreign_keys": [{"columns": "person", "references_table": "people"}],
            },
        ],
        tasks=[{**TASK, **task}],
        split={"validation_from": "2020-03-01", "test_from": "2020-04-01"},
        training={"epochs": 1, "batch_size": 64},
        architecture={"global_embed_dim": 8, "heads": 2},
        root=root,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The task after its training."""
    root = tmp_path_factory.mktemp("classes")
    asked, store = project(root, classes=CLASSES), Store(root / "store.duckdb", threads=1)
    rng, people, visits = np.random.default_rng(0), 20, 300
    days = pl.datetime(2020, 1, 1) + pl.duration(days=pl.Series(rng.integers(0, 121, visits)))
    tables = {
        "people": pl.DataFrame({"id": range(people), "age": rng.integers(9, 90, people)}),
        "visits": pl.DataFrame({"visit": range(visits), "person": rng.integers(0, people, visits)})
        .with_columns(days.alias("at")),
    }  # fmt: skip
    for name, frame in tables.items():
        store.replace(f"validated.{name}", frame)
        align_table(asked, name, None, store)
    relate_tables(asked, store)
    lay_cutoffs(asked, "often", store)
    with store.write() as con:
        con.execute(f"create table aligned.how_often as {LABELS}")
    task = read_task(asked, "often", store)
    lay_samples(asked, task, store)
    index_task(asked, task, (), {"how_often": LABELS}, store)
    tokenize_task(asked, "often", store)
    train_task(asked, "often", store, "f", ProgressLog(root / "log.txt", io.StringIO()))
    return asked


def test_the_model_gives_a_probability_of_every_class(made):
    assert read_recipe(made, "often").task.classes == CLASSES
    tensors, _ = open_tensors_of(made, "often")
    assert {*np.unique(tensors.label_B)} == {0, 1, 2}
    shares = judged_predictions(made, "often")
    assert shares.shape[1] == 3
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({}, "a multiclass task in time needs classes"),
        ({"classes": ["never"]}, "at least two different names"),
        ({"classes": ["never", "never"]}, "at least two different names"),
        ({"classes": CLASSES, "kind": "binary"}, "classes belong to a multiclass task"),
    ],
)
def test_classes_that_are_missing_or_too_many_are_refused(tmp_path, task, told):
    with pytest.raises(ValueError, match=told):
        project(tmp_path, **task)
