"""``nexusflow artifact``: keys from files and the environment, and exit codes."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nexus_model.artifact.archive import read_archive, write_archive
from nexus_pipeline import cli
from nexus_pipeline.artifact_files import COMMANDS

RUNNER = CliRunner()
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "nxf-format.md").read_text("utf-8")
KEYS = ("NEXUS_SIGNING_KEY", "NEXUS_PUBLIC_KEY", "NEXUS_ENVELOPE_KEY")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command, in a folder with a file and without keys in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    write_archive(tmp_path / "model.nxf", {"a.json": b"{}"})
    return lambda text: RUNNER.invoke(cli.app, ["artifact", *text.split()])


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_runnable_example(run, command):
    shown = run(f"{command.__name__} --help")
    assert shown.exit_code == 0
    assert f"Example: nexusflow artifact {command.__name__}" in " ".join(shown.output.split())


def test_the_commands_of_the_page_run_in_their_order(run):
    lines = re.findall(r"^nexusflow artifact (.+)$", PAGE, re.MULTILINE)
    assert len(lines) == len(COMMANDS)
    before = Path("model.nxf").read_bytes()
    for line in lines:
        shown = run(line)
        assert shown.exit_code == 0, shown.output
    assert read_archive(Path("model.nxf")).signature is not None
    assert Path("model.nxf").read_bytes() != before
    assert json.loads(shown.output)["title"].startswith("manifest.json")


def test_keys_are_readable_by_their_owner_only_and_never_replaced(run):
    assert run("keys --to keys").exit_code == 0
    rights = {path.name: path.stat().st_mode & 0o077 for path in Path("keys").iterdir()}
    assert rights["signing-private.pem"] == rights["envelope.key"] == 0
    before = Path("keys/signing-private.pem").read_bytes()
    assert run("keys --to keys").exit_code == 2
    assert Path("keys/signing-private.pem").read_bytes() == before


def test_keys_are_taken_from_the_environment(run, monkeypatch):
    run("keys --to keys")
    for name, file in zip(
        KEYS, ("signing-private.pem", "signing-public.pem", "envelope.key"), strict=True
    ):
        monkeypatch.setenv(name, Path("keys", file).read_text())
    for line in ("sign model.nxf", "verify model.nxf", "encrypt model.nxf --to e", "verify e"):
        shown = run(line)
        assert shown.exit_code == 0, shown.output
    assert "signed with key" in shown.output


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("sign model.nxf", 2, "NEXUS_SIGNING_KEY"),
        ("encrypt model.nxf --to e", 2, "NEXUS_ENVELOPE_KEY"),
        ("decrypt model.nxf --to d --key keys/envelope.key", 3, "is not encrypted"),
        ("verify nowhere.nxf", 3, "no such file"),
        ("verify model.nxf --public-key keys/signing-public.pem", 3, "is not signed"),
        ("sign model.nxf --key keys/envelope.key", 2, "not an unencrypted PEM key"),
        ("schema weights", 2, "got 'weights'"),
    ],
)
def test_what_goes_wrong_has_an_exit_code_and_one_line(run, line, code, told):
    run("keys --to keys")
    shown = run(line)
    assert shown.exit_code == code
    assert told in shown.output
    assert shown.output.count("\n") == 1


def test_no_option_takes_a_key_itself_and_none_is_printed(run):
    run("keys --to keys")
    secret = Path("keys/envelope.key").read_text().strip()
    assert run(f"encrypt model.nxf --to e --key {secret}").exit_code == 2
    told = "".join(
        run(line).output
        for line in (
            "encrypt model.nxf --to e --key keys/envelope.key",
            "verify e",
            "verify e --key e",
        )
    )
    assert secret not in told


def test_an_unsigned_file_is_verified_with_the_remark_that_no_signature_was_checked(run):
    shown = run("verify model.nxf")
    assert shown.exit_code == 0
    assert "1 members are as written, not signed; no signature was checked" in shown.output


@pytest.mark.parametrize("member", ["manifest", "signature", "recipe", "tokenizer", "config.json"])
def test_a_members_schema_is_printed(run, member):
    assert "properties" in json.loads(run(f"schema {member}").output)
