"""The help of every command, word for word; ``python tests/pipeline/test_help.py`` renews it."""

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from nexus_pipeline import cli

GOLDEN = Path(__file__).parent / "help"
ROOT = get_command(cli.app)


def commands(group=ROOT, words=()):
    """Every command and group, with the words that name it."""
    yield words, group
    for name, below in getattr(group, "commands", {}).items():
        yield from commands(below, (*words, name))


EVERY = dict(commands())


def shown(words) -> str:
    """What ``--help`` prints, 100 columns wide."""
    environment = {"TERMINAL_WIDTH": "100", "COLUMNS": "100", "NO_COLOR": "1"}
    done = CliRunner().invoke(cli.app, [*words, "--help"], env=environment, prog_name="nexusflow")
    assert done.exit_code == 0
    return done.output


def file_of(words) -> Path:
    return GOLDEN / f"{'_'.join(('nexusflow', *words))}.txt"


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_help_reads_as_it_did(words):
    assert shown(words) == file_of(words).read_text(encoding="utf-8")


def test_no_help_is_kept_of_a_command_that_is_gone():
    assert {path.name for path in GOLDEN.iterdir()} == {file_of(words).name for words in EVERY}


@pytest.mark.parametrize("words", [w for w, c in EVERY.items() if not hasattr(c, "commands")])
def test_every_command_shows_an_example_of_itself(words):
    assert re.search(rf"Example: nexusflow {' '.join(words)}\b", " ".join(shown(words).split()))


@pytest.mark.parametrize(
    "words",
    [w for w, c in EVERY.items() if not hasattr(c, "commands") and w not in {("serve",), ("ui",)}],
)
def test_every_command_that_answers_can_answer_as_json(words):
    assert "--json" in shown(words)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.iterdir():
        old.unlink()
    for each in EVERY:
        file_of(each).write_text(shown(each), encoding="utf-8")
