"""A task whose training starts from the weights of another's model."""

import pytest
from safetensors.torch import load_file

from nexus_pipeline.defs.trained import trained_makings
from nexus_pipeline.progress import ProgressLog
from nexus_pipeline.project import load_project
from nexus_pipeline.run import materialize
from nexus_pipeline.steps.align import read_recipe
from nexus_pipeline.steps.train_task import FINAL, JUDGED, beginning
from tests.pipeline.conftest import in_its_home
from tests.pipeline.test_temporal_project import PROJECT, in_time

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]
SAID = PROJECT.replace("    regimes: [seed_time, frozen]\n", "").replace(
    "sql: orders_again}",
    "sql: orders_again, start_from: {seed_time: spent}, also_predict: spent, also_weight: 0.5}",
)
MADE = ("raw", "validated", "aligned", "tokenized", "trained")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The shop after a training of the task that starts from the other, and nothing else."""
    assert "start_from: {seed_time: spent}" in SAID
    shop = in_time(tmp_path_factory.mktemp("start"))
    shop.file.write_text(SAID, encoding="utf-8")
    patch = in_its_home(shop)
    try:
        materialize(shop.file, stages=MADE, task="again")
    finally:
        patch.undo()
    return shop


def test_what_it_starts_from_is_made_and_nothing_else_of_it(made):
    names = set(made.records())
    assert {"trained/again", "trained/spent", "tokenized/spent"} <= names
    assert not {"optimized/spent", "evaluated/spent"} & names


def test_it_starts_where_the_other_has_stopped(made):
    project = load_project(made.file)
    log = ProgressLog(made.folder / "log.txt")
    for file in (JUDGED, FINAL):
        learned = load_file(project.stage_folder("trained", "spent", "model") / file)
        model = beginning(project, "again", log, file).state_dict()
        same = [name for name in learned if name in model and model[name].equal(learned[name])]
        assert sum("exchange" in name or "database" in name for name in same) > 10
        assert not any(name.startswith("head.") for name in same)


def test_a_new_model_of_the_other_makes_it_anew(made):
    project = load_project(made.file)
    making = next(m for m in trained_makings(project) if m.key == "shop/trained/again")
    assert "shop/trained/spent" in making.upstream


def test_what_it_also_predicts_is_labelled_told_and_not_kept(made):
    facts = made.record("tokenized/again").stored.facts
    assert facts["labelled/spent"] == 1
    assert made.record("trained/again").stored.facts["validation_mae/spent"] > 0
    folder = load_project(made.file).stage_folder("trained", "again", "model")
    for file in (JUDGED, FINAL):
        assert not any(name.startswith("also_") for name in load_file(folder / file))


def test_no_label_of_what_it_also_predicts_is_there_to_be_read(made):
    recipe = read_recipe(load_project(made.file), "again")
    assert "label_history_again" in recipe.database.names
    assert "label_history_spent" not in recipe.database.names
    assert "money_spent" not in {model.name for model in recipe.models}
