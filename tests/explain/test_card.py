"""The model card: what people must say, what is measured, and where it is refused."""

import pytest
from tiny_artifact import artifact, shop
from typer.testing import CliRunner

from nexus_model.artifact.model_file import NexusFlowModelArtifact
from nexus_model.schema import ConfigurationError
from nexus_pipeline import cli
from nexus_pipeline.settings.card import CardConfig
from nexus_pipeline.steps.model_card import missing_of, model_card, stored_card, write_card

SAID = CardConfig(intended_use="whom to call", limits="not for new shops", ethics="nobody refused")


def saved(folder, said=SAID):
    own, tiny = artifact(), shop()
    held_B = tiny.samples("validation")
    judged = [0.4 + 0.2 * (place % 2) for place in range(len(held_B))]
    facts = stored_card(said, "log_loss", judged, tiny.label_B[held_B])
    path = folder / "model.nxf"
    NexusFlowModelArtifact(own.recipe, own.tokenizer, own.config, own.weights, metrics=facts).save(
        path
    )
    return path


def test_a_card_says_what_people_said_and_what_was_measured(tmp_path):
    found = model_card(saved(tmp_path))
    for part in ("whom to call", "not for new shops", "nobody refused", "## Metrics", "log_loss"):
        assert part in found["text"]
    (metric,) = found["facts"]["metrics"]
    assert metric["low"] <= metric["estimate"] <= metric["high"]
    assert "| validation | log_loss |" in found["text"]
    assert "- orders: " in found["text"]


@pytest.mark.parametrize("name", ["intended_use", "limits", "ethics"])
def test_a_mandatory_field_that_says_nothing_is_named(name, tmp_path):
    silent = SAID.model_copy(update={name: "  "})
    assert missing_of(silent) == [name]
    with pytest.raises(ConfigurationError, match=f"says nothing of {name}; write them under card:"):
        model_card(saved(tmp_path, silent))


def test_a_model_without_a_card_is_refused_with_exit_code_2(tmp_path):
    path = tmp_path / "plain.nxf"
    artifact().save(path)
    shown = CliRunner().invoke(cli.app, ["card", str(path)])
    assert shown.exit_code == 2
    assert "intended_use, limits, ethics" in shown.output


def test_the_command_writes_the_card(tmp_path):
    to = tmp_path / "card.md"
    shown = CliRunner().invoke(cli.app, ["card", str(saved(tmp_path)), "--to", str(to)])
    assert shown.exit_code == 0
    assert to.read_text().startswith("# Model card: again")
    assert "## Ethics" in shown.output


def test_an_evaluation_that_is_none_is_refused(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="is no evaluation"):
        model_card(saved(tmp_path), tmp_path / "metrics.json")


def test_an_evaluation_without_a_card_says_so_and_leaves_none(tmp_path):
    (tmp_path / "card.md").write_text("an old one")
    assert "intended_use" in write_card(tmp_path, tmp_path / "model.nxf", None)
    assert not (tmp_path / "card.md").exists()
