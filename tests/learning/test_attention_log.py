"""Pictures of attention while training: there when asked for, and nothing else changes."""

import json
from xml.etree import ElementTree as ET

import pytest
from tiny_training import fresh, project_with, run, same, shop, weights

from nexus_pipeline.steps.attention_log import attention_folder, attention_log


def project(tmp_path, **mlops):
    return project_with(tmp_path, "mlops", mlops)


def trained(found):
    """A training that logs as the project asks; its weights, and the files of its folder."""
    state, tiny = fresh(), shop()
    look = attention_log(found, "again", tiny.tensors, tiny.samples("validation"))
    run(state, on_epoch=look)
    folder = attention_folder(found, "again")
    return weights(state), sorted(folder.iterdir()) if folder.exists() else []


def test_pictures_come_every_so_many_epochs_and_shares_sum_to_one(tmp_path):
    _, files = trained(project(tmp_path, log_attention_patterns=True, attention_every=2))
    assert {file.name.split("_cycle")[0].split(".")[0] for file in files} == {
        "epoch_002",
        "epoch_004",
    }
    flow = json.loads(next(file for file in files if file.suffix == ".json").read_text())
    assert [sum(row) for cycle in flow["cycles"] for row in cycle] == pytest.approx(
        [1.0] * len(flow["paths"]) * len(flow["cycles"])
    )
    pictures = [file for file in files if file.suffix == ".svg"]
    assert len(pictures) == 2 * len(flow["cycles"])
    for picture in pictures:
        assert ET.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_whoever_asks_for_none_gets_none_and_the_same_weights(tmp_path):
    for name in ("loud", "silent"):
        (tmp_path / name).mkdir()
    loud, pictures = trained(project(tmp_path / "loud", log_attention_patterns=True))
    silent, none = trained(project(tmp_path / "silent"))
    assert pictures
    assert none == []
    assert same(loud, silent)
