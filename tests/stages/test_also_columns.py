"""A shop whose model also learns other columns of its customers: none of them is an input."""

import io
import json

import numpy as np
import pytest
from safetensors.torch import load_file

from nexus_model.schema import TaskKind
from nexus_pipeline.defs.aligned import SqlProject, aligned_makings
from nexus_pipeline.defs.validated import validated_makings
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import load_project
from nexus_pipeline.scaffold import create_project, write_shop
from nexus_pipeline.steps.align import (
    align_table,
    index_task,
    lay_samples,
    read_recipe,
    read_task,
    relate_tables,
)
from nexus_pipeline.steps.contracts import derive_contract
from nexus_pipeline.steps.read_raw import read_raw
from nexus_pipeline.steps.tokenize_task import open_tensors_of, tokenize_task
from nexus_pipeline.steps.train_task import FINAL, JUDGED, model_folder, train_task
from nexus_pipeline.steps.validate import validate_table
from nexus_pipeline.storage import Store

TARGET = "target_column: churned"
ALSO = f"{TARGET}, also_predict: [age, region]"
QUICK = """\
training: {epochs: 2, batch_size: 32, optimizer: {lr: 0.01, warmup_steps: 2}}
architecture: {global_embed_dim: 8, heads: 2}
"""


def shop_in(parent, target):
    """The project of a small shop that predicts this."""
    folder = create_project(parent, "shop")
    write_shop(folder / "data/raw/shop", 150)
    file = folder / "nexusflow.yaml"
    text = file.read_text(encoding="utf-8").replace(TARGET, target)
    file.write_text(text + QUICK, encoding="utf-8")
    return load_project(file)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The project after its training, the schema of its tables, and facts of two stages."""
    project = shop_in(tmp_path_factory.mktemp("also"), ALSO)
    store, contracts = Store(project.root / "store.duckdb", threads=1), []
    for dataset in project.datasets:
        read_raw(project, dataset.table, store)
        contracts.append(derive_contract(project, dataset.table, store))
        validate_table(project, contracts[-1], store)
        align_table(project, dataset.table, None, store)
    database, task = relate_tables(project, store), read_task(project, "churned", store)
    lay_samples(project, task, store)
    index_task(project, task, contracts, {}, store)
    facts = tokenize_task(project, "churned", store).facts
    log = ProgressLog(project.root / "log.txt", io.StringIO())
    return project, database, facts | train_task(project, "churned", store, "f", log).facts


def test_no_label_is_an_input_of_any_kind(made):
    project, database, _ = made
    assert not database["customers"].columns
    raw = next(t for t in read_recipe(project, "churned").raw if t.name == "customers")
    assert [column.name for column in raw.columns] == ["customer_id"]
    tensors, tokenizer = open_tensors_of(project, "churned")
    assert tensors.tables["customers"].numerical_RC.shape[1] == 0
    assert not tokenizer["customers"].categorical


def test_labels_are_those_of_the_rows_but_of_no_test_sample(made):
    tensors, _ = open_tensors_of(made[0], "churned")
    age, region = tensors.also
    kinds = [own.goal.task.kind for own in tensors.also]
    assert kinds == [TaskKind.REGRESSION, TaskKind.MULTICLASS]
    assert region.goal.task.classes == ("east", "north", "south", "west")
    known = np.isfinite(age.label_B)
    np.testing.assert_array_equal(known, np.isfinite(region.label_B))
    assert 0.6 < known.mean() < 0.95
    lines = made[0].raw_path("customers").with_suffix(".csv").read_text("utf-8").split()[1:]
    ages = {int(line.split(",")[0]): float(line.split(",")[2]) for line in lines}
    rows = tensors.times.entity_B
    assert {age.label_B[at] - ages[rows[at]] for at in np.flatnonzero(known)} == {0.0}


def test_how_well_they_are_told_is_said_and_their_heads_are_not_kept(made):
    project, _, facts = made
    assert facts["labelled/age"] == facts["labelled/region"] == 1
    assert 5 < facts["validation_mae/age"] < 40
    assert 0 < facts["validation_log_loss/region"] < 3
    folder = model_folder(project, "churned")
    for file in (JUDGED, FINAL):
        assert not any("also" in name for name in load_file(folder / file))
    curve = json.loads((folder / "curve.json").read_text(encoding="utf-8"))
    assert curve[0]["auxiliary"] > 1, "they are in the loss"


def test_other_labels_make_the_tables_anew(tmp_path):
    """Else a column that has become a label would stay an input."""

    def configs(name, target):
        (tmp_path / name).mkdir()
        project = shop_in(tmp_path / name, target)
        makings = [*validated_makings(project), *aligned_makings(project, SqlProject({}, {}))]
        told = {making.key: making.config for making in makings}
        return [told[f"shop/{key}"] for key in ("validated/customers", "aligned/database")]

    first, also, other = (
        configs(str(at), target)
        for at, target in enumerate([TARGET, ALSO, "target_column: region"])
    )
    for one, two in ((first, also), (first, other), (also, other)):
        assert all(ours != theirs for ours, theirs in zip(one, two, strict=True))
