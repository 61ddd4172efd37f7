"""Further labels are joined by entity and cutoff, within a split, and never of a test sample."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tiny import tiny_model
from tiny_training import also_tasks, shop_also

from nexus_model.schema import DataError, TaskKind
from nexus_pipeline.defs.aligned import SqlProject, aligned_makings
from nexus_pipeline.defs.tokenized import tokenized_makings
from nexus_pipeline.project import ProjectConfig
from nexus_pipeline.steps.also_task import also_facts, also_scores, read_also
from nexus_pipeline.storage import Store

NAN = float("nan")
WHEN = {"validation_from": "2020-03-01", "test_from": "2020-05-01"}
OWN = [
    ("a", "2020-01-01", "train"),
    ("a", "2020-02-01", "train"),
    ("a", "2020-02-01", "train"),
    ("b", "2020-02-01", "train"),
    ("a", "2020-03-01", "validation"),
    ("a", "2020-03-01", "refit"),
    ("a", "2020-05-01", "test"),
]
THEIRS = [
    ("a", "2020-02-01", "train", 3.0),
    ("a", "2020-02-01", "train", 3.0),
    ("b", "2020-01-15", "train", 8.0),
    ("b", "2020-02-01", "validation", 9.0),
    ("a", "2020-03-01", "validation", 5.0),
    ("a", "2020-05-01", "test", 7.0),
]


def task(name: str, **more: object) -> dict[str, object]:
    """A task in time about people."""
    told = {"name": name, "entity_table": "people", "kind": "regression", "horizon_days": 30}
    return {**told, "sql": f"{name}_label", **more}


def project(*tasks: dict[str, object]) -> ProjectConfig:
    """People, and questions about them."""
    people = {"name": "people", "primary_key": "id"}
    return ProjectConfig(project_name="p", datasets=[people], tasks=tasks, split=WHEN)


def frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    """Samples in order."""
    columns = ("id", "cutoff", "split", "label")[: len(rows[0])]
    found = pl.DataFrame(rows, schema=columns, orient="row")
    return found.with_columns(pl.col("cutoff").str.to_datetime()).with_row_index("sample")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "store.duckdb")
    found.replace("aligned.samples_own", frame(OWN))
    found.replace("aligned.samples_theirs", frame(THEIRS))
    return found


def splits() -> np.ndarray:
    return np.array([split for _, _, split in OWN])


def test_a_label_is_that_of_the_entity_at_the_cutoff_in_the_split(store: Store) -> None:
    asked = project(task("own", also_predict="theirs", also_weight=0.5), task("theirs"))
    (found,) = read_also(asked, "own", splits(), store)
    np.testing.assert_array_equal(found.label_B, [NAN, 3.0, 3.0, NAN, 5.0, 5.0, NAN])
    assert (found.goal.task.name, found.goal.weight) == ("theirs", 0.5)
    assert found.goal.scale.center == 3.0
    assert also_facts((found,), splits()) == {"labelled/theirs": 0.5}


def test_the_first_regime_stands_for_the_labels_of_all(store: Store) -> None:
    store.replace("aligned.samples_theirs_frozen", frame(THEIRS))
    regimes = ["frozen", "seed_time"]
    asked = project(task("own", also_predict="theirs"), task("theirs", regimes=regimes))
    (found,) = read_also(asked, "own", splits(), store)
    assert found.goal.task.name == "theirs_frozen"


def test_tasks_whose_cutoffs_never_meet_are_refused(store: Store) -> None:
    store.replace("aligned.samples_theirs", frame([("a", "2020-01-07", "train", 1.0)]))
    asked = project(task("own", also_predict="theirs"), task("theirs"))
    with pytest.raises(DataError, match="own also predicts theirs, but their cutoffs never meet"):
        read_also(asked, "own", splits(), store)


def test_a_run_of_one_task_makes_the_samples_it_learns_labels_of() -> None:
    asked = project(task("own", also_predict="theirs"), task("theirs"), task("third"))
    makings = aligned_makings(asked, SqlProject({}, {}))
    names = {making.key.split("/")[-1] for making in makings if making.is_of("own")}
    assert {"samples_own", "index_own", "samples_theirs", "cutoffs_theirs"} <= names
    assert not names & {"index_theirs", "samples_third", "cutoffs_third"}
    assert "samples_own" not in {m.key.split("/")[-1] for m in makings if m.is_of("theirs")}
    upstream = {making.key: making.upstream for making in tokenized_makings(asked)}
    assert "p/aligned/samples_theirs" in upstream["p/tokenized/own"]
    assert "p/aligned/samples_own" not in upstream["p/tokenized/theirs"]


@pytest.mark.parametrize(
    ("also", "told"),
    [
        ("nobody", "must name other tasks, got 'nobody'"),
        ("own", "must name other tasks, got 'own'"),
        (["theirs", "theirs"], "must name each task once"),
    ],
)
def test_what_cannot_be_a_further_task_is_refused(also: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        project(task("own", also_predict=also), task("theirs"))


def test_a_further_task_about_others_is_refused() -> None:
    other = {**task("theirs"), "entity_table": "places"}
    datasets = [{"name": name, "primary_key": "id"} for name in ("people", "places")]
    with pytest.raises(ValueError, match="theirs is about places"):
        ProjectConfig(
            project_name="p", datasets=datasets, tasks=[task("own", also_predict="theirs"), other],
            split=WHEN,
        )  # fmt: skip


def test_the_target_is_no_further_label() -> None:
    target = {"target_table": "people", "target_column": "age", "also_predict": ["age"]}
    people = {"name": "people", "primary_key": "id"}
    with pytest.raises(ValueError, match="must name other columns"):
        ProjectConfig(project_name="p", datasets=[people], target=target)


def test_a_label_no_validation_sample_has_is_not_scored() -> None:
    tiny = shop_also(TaskKind.REGRESSION)
    (own,) = tiny.tensors.also
    model, validation_B = tiny_model(tiny, also=also_tasks(tiny)), tiny.samples("validation")
    assert set(also_scores(model, tiny.tensors, validation_B)) == {"validation_mae/also_regression"}
    train_B = tiny.split_B == "train"
    bare = own._replace(label_B=np.where(train_B, own.label_B, NAN))
    assert also_scores(model, tiny.tensors._replace(also=(bare,)), validation_B) == {}
