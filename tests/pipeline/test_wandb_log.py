"""Weights & Biases beside MLflow: a whole run in a folder, and nothing leaves the machine."""

import json
import struct
from pathlib import Path

import pytest

from nexus_model.schema import ConfigurationError
from nexus_pipeline.tracking.events import artifact_event, metrics_event, params_event
from nexus_pipeline.tracking.wandb_log import wandb_log

pytestmark = pytest.mark.filterwarnings("ignore")


def records(folder: Path):
    """What a run's own file holds: blocks of LevelDB's log format after seven bytes of head."""
    from wandb.proto import wandb_internal_pb2

    [file] = folder.glob("offline-run-*/*.wandb")
    content, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        if left < 7 or kind == 0:
            at += left
            continue
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def test_a_run_is_whole_in_its_folder_without_a_server(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "report.html").write_text("<p>fine</p>")
    with wandb_log(tmp_path / "wandb", "shop", "shop/trained/churned", "key") as log:
        log.take(params_event({"epochs": 2, "optimizer": {"lr": 0.1}}))
        for epoch in range(2):
            log.take(metrics_event({"loss": 1 / (epoch + 1)}, epoch))
        log.take(metrics_event({"rows": 7.0}, None))
        log.take(artifact_event(tmp_path / "report.html", "pages"))
    found = list(records(tmp_path / "wandb"))
    told = {
        item.key: json.loads(item.value_json) for one in found for item in one.config.update
    } | {item.key: json.loads(item.value_json) for one in found for item in one.run.config.update}
    steps = [
        {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in one.history.item}
        for one in found
        if one.HasField("history")
    ]
    summary = {
        (item.key or item.nested_key[0]): json.loads(item.value_json)
        for one in found
        for item in one.summary.update
    }
    assert (told["epochs"], told["optimizer.lr"]) == ("2", "0.1")
    assert [(step["step"], step["loss"]) for step in steps] == [(0, 1.0), (1, 0.5)]
    assert summary["rows"] == 7.0
    [folder] = (tmp_path / "wandb").glob("offline-run-*")
    assert (folder / "files/pages/report.html").read_text() == "<p>fine</p>"
    assert any(file.path == "pages/report.html" for one in found for file in one.files.files)


def test_a_package_that_is_not_there_is_an_error_and_no_quiet_switch(tmp_path, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    log = wandb_log(tmp_path / "wandb", "shop", "trained", "key")
    with pytest.raises(ConfigurationError, match=r"pip install nexusflow\[wandb\]"):
        log.__enter__()
    assert not (tmp_path / "wandb").exists()
