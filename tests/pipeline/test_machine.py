"""``nexusflow doctor``: what is in the way is found, and what to do about it is said."""

import json
import socket

import duckdb
import pytest
from typer.testing import CliRunner

from nexus_pipeline import cli, machine
from nexus_pipeline.machine import examine
from nexus_pipeline.scaffold import create_project


@pytest.fixture
def shop(tmp_path, monkeypatch):
    for name in ("NEXUS_HOME", "NEXUS_DATA", "NEXUS_RAW"):
        monkeypatch.delenv(name, raising=False)
    return create_project(tmp_path, "shop") / "nexusflow.yaml"


def found(file):
    return {finding.about: finding for finding in examine(file)}


def test_a_fresh_project_on_this_machine_has_nothing_wrong(shop):
    assert [f.told() for f in examine(shop) if f.state == "wrong"] == []
    assert found(shop)["project"].found == "shop, tasks churned"


def test_json_and_words_tell_the_same(shop):
    def told(*more: str) -> str:
        return CliRunner().invoke(cli.app, ["doctor", "--project", str(shop), *more]).stdout

    facts = json.loads(told("--json"))
    words = told()
    assert all(fact["about"] in words for fact in facts)
    assert f"0 of {len(facts)} wrong" in words


def test_missing_tables_are_named(shop):
    next(shop.parent.rglob("orders.csv")).unlink()
    assert found(shop)["raw files"].told() == (
        "wrong raw files: not there: orders; put them there, or set NEXUS_RAW"
    )


def test_a_store_that_is_no_database_is_found(shop):
    (shop.parent / "data/raw/shop.duckdb").write_bytes(b"not a database" * 1000)
    assert found(shop)["store"].state == "wrong"


def test_a_good_store_is_good(shop):
    duckdb.connect(str(shop.parent / "data/raw/shop.duckdb")).close()
    assert found(shop)["store"].state == "good"


def test_a_port_in_use_is_noted(shop, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", {"test": port})
        assert found(shop)[f"port {port} (test)"].state == "note"
    assert found(shop)[f"port {port} (test)"].state == "good"


def test_telemetry_that_is_switched_on_is_wrong(shop, monkeypatch):
    monkeypatch.setenv("DO_NOT_TRACK", "false")
    assert found(shop)["telemetry"].told() == "wrong telemetry: switched on by DO_NOT_TRACK"


def test_a_disk_that_is_nearly_full_is_wrong(shop, monkeypatch):
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 2**60)
    assert found(shop)["data folder"].state == "wrong"


def test_no_project_is_a_note_with_what_to_do(tmp_path):
    told = found(tmp_path / "none.yaml")["project"]
    assert told.state == "note"
    assert "nexusflow init NAME" in told.found
